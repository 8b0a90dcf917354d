from __future__ import annotations

import pytest

from clipcore.errors import BadInput
from clipcore.evaluation.classification import name_classes
from clipcore.types import Label


def test_a_folders_name_is_its_words_with_spaces_for_underscores():
    named = name_classes(["tabby_cat", "dog"], ())
    assert [label.phrases for label in named.labels] == [("tabby cat",), ("dog",)]
    assert named.shown == ("tabby_cat", "dog")


def test_given_words_are_used_and_shown_in_the_order_of_the_classes():
    words = [Label("n2", ("dog", "hound")), Label("n1", ("tabby cat",)), Label("n3", ("never seen",))]
    named = name_classes(["n1", "n2"], words)
    assert [label.phrases for label in named.labels] == [("tabby cat",), ("dog", "hound")]
    assert named.shown == ("tabby cat", "dog")


def test_two_classes_of_one_name_stay_two():
    named = name_classes(["n1", "n2"], [Label("n1", ("crane",)), Label("n2", ("crane",))])
    assert named.shown == ("crane (n1)", "crane (n2)")


def test_a_class_without_words_is_named():
    with pytest.raises(BadInput, match="'n2' and 1 more"):
        name_classes(["n1", "n2", "n3"], [Label("n1", ("cat",))])
