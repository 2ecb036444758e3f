"""The short vocabulary: CLIP's own splitting of the captions' words, at a fraction of its size."""

import gzip

import open_clip

from clipsonic.clip.open_clip import new_clip, published_merges
from clipsonic.clip.vocabulary import packed, short_merges
from clipsonic.train.lessons.clip import read_recipe

CAPTIONS = ("a small glass bell ringing slowly", "three huge trees in the wind, howling", "medium-sized 2 xylophones")


def _tokenizer(captions, num_merges=600):
    recipe = read_recipe()
    return new_clip(recipe, packed(short_merges(captions, published_merges(), num_merges))).tokenize


def test_words_of_the_captions_are_split_exactly_as_clip_splits_them():
    whole, short = open_clip.get_tokenizer("ViT-B-32"), _tokenizer(CAPTIONS)
    for caption in CAPTIONS:
        assert [short.decoder[token] for token in short.encode(caption)] == [
            whole.decoder[token] for token in whole.encode(caption)
        ]


def test_a_word_never_read_is_split_into_known_pieces():
    short = _tokenizer(CAPTIONS)
    assert short.decode(short.encode("quixotic zebra")).strip() == "quixotic zebra"


def test_the_number_of_merges_is_what_was_asked_for():
    merges = short_merges(CAPTIONS, published_merges(), 600)
    assert len(merges) == len(set(merges)) == 600


def test_more_merges_are_kept_where_the_captions_need_them():
    merges = short_merges(CAPTIONS, published_merges(), 1)
    assert len(merges) > 20
    whole = open_clip.get_tokenizer("ViT-B-32")
    assert len(_tokenizer(CAPTIONS, 1).encode("xylophones")) == len(whole.encode("xylophones"))


def test_the_packed_file_has_equal_bytes_each_time_and_no_empty_merge():
    merges = short_merges(CAPTIONS, published_merges(), 300)
    assert packed(merges) == packed(merges)
    lines = gzip.decompress(packed(merges)).decode().split("\n")
    assert lines[1:] == merges
    assert all(len(line.split()) == 2 for line in lines[1:])
