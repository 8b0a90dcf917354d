from __future__ import annotations

import pytest

from clipcore.errors import BadInput
from clipcore.evaluation.classification import name_classes
from clipcore.types import Label


def test_underscores_in_class_names_become_spaces():
    labels, shown = name_classes(["tabby_cat", "dog"], ())
    assert [label.phrases for label in labels] == [("tabby cat",), ("dog",)]
    assert shown == ["tabby_cat", "dog"]


def test_given_names_are_used_in_the_order_of_the_classes():
    words = [Label("n2", ("dog", "hound")), Label("n1", ("tabby cat",)), Label("n3", ("never seen",))]
    labels, shown = name_classes(["n1", "n2"], words)
    assert [label.phrases for label in labels] == [("tabby cat",), ("dog", "hound")]
    assert shown == ["tabby cat", "dog"]


def test_two_classes_with_the_same_name_are_told_apart():
    _, shown = name_classes(["n1", "n2"], [Label("n1", ("crane",)), Label("n2", ("crane",))])
    assert shown == ["crane (n1)", "crane (n2)"]


def test_a_class_without_a_name_is_an_error():
    with pytest.raises(BadInput, match="'n2' and 1 more"):
        name_classes(["n1", "n2", "n3"], [Label("n1", ("cat",))])
