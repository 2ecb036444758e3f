"""The denoisers, as diffusers ModelMixin: conditioner (what they see), dit (the default), unet."""
