"""Versions are published once, then registered; dying anywhere in between loses nothing and shows nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from components import registry, store, tracking
from components.registry import RegistryError
from components.settings import Settings
from components.store import Address, Store
from serving import bundle as bundles
from serving.bundle import Bundle, BundleError
from serving.schema import Column, Schema, Target

SCHEMA = Schema((Column("age", "number"),), Target("target", "binary", (0, 1), 1))


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model name of its own for each test, since the object store outlives the test."""
    return "m" + "".join(character for character in tmp_path.name.lower() if character.isalnum())[-40:]


@pytest.fixture
def make(tmp_path: Path, model: str) -> Callable[[str], Bundle]:
    """Make a sealed bundle whose content depends on a word."""

    def build(word: str) -> Bundle:
        folder = tmp_path / word
        folder.mkdir(exist_ok=True)
        for name in bundles.REQUIRED:
            (folder / name).write_text(json.dumps({"word": word}))
        return bundles.seal(Bundle(folder, model, model, "forest", SCHEMA, provenance={"dataset": "abc"}))

    return build


def test_versions_count_from_one_and_carry_digest_and_data(
    settings: Settings, model: str, make: Callable[[str], Bundle]
) -> None:
    first = registry.publish(settings, make("one"), "run-1")
    second = registry.publish(settings, make("two"), "run-2")
    known = tracking.versions(settings, model)

    assert (first.number, second.number) == ("1", "2")
    assert [version.digest for version in known] == [first.digest, second.digest]
    assert [version.uri for version in known] == [f"s3://models/{model}/1/", f"s3://models/{model}/2/"]
    assert known[0].tags["headrace.dataset"] == "abc"


def test_publishing_again_in_the_same_run_gives_the_same_version(
    settings: Settings, make: Callable[[str], Bundle]
) -> None:
    first = registry.publish(settings, make("one"), "run-1")

    assert registry.publish(settings, make("one"), "run-1") == first


def test_the_same_model_of_the_same_data_is_no_new_version(
    settings: Settings, model: str, make: Callable[[str], Bundle]
) -> None:
    first = registry.publish(settings, make("one"), "run-1")
    registry.publish(settings, make("two"), "run-2")
    again = registry.publish(settings, make("one"), "run-3")
    fresh = make("one")
    other = bundles.seal(replace(fresh, provenance={"dataset": "other"}))

    assert (again.number, again.digest, again.new) == ("1", first.digest, False)
    assert first.new
    assert registry.publish(settings, other, "run-4").number == "3"
    assert len(tracking.versions(settings, model)) == 3


def test_the_same_model_whose_bundle_is_gone_is_published_again(
    settings: Settings, model: str, make: Callable[[str], Bundle]
) -> None:
    registry.publish(settings, make("one"), "run-1")
    Store(settings).remove(Address("models", f"{model}/1/{bundles.MANIFEST}"))

    assert registry.publish(settings, make("one"), "run-2").number == "2"


def test_a_fetched_version_is_the_published_one(
    settings: Settings, model: str, make: Callable[[str], Bundle], tmp_path: Path
) -> None:
    version = registry.publish(settings, make("one"), "run-1")
    fetched = registry.fetch(settings, model, version.number, tmp_path / "served" / "1")

    assert fetched.digest == version.digest
    assert fetched.version == "1"
    assert fetched.json(bundles.GOLDEN) == {"word": "one"}


def test_a_bundle_changed_in_the_store_is_refused_and_not_left_behind(
    settings: Settings, model: str, make: Callable[[str], Bundle], tmp_path: Path
) -> None:
    registry.publish(settings, make("one"), "run-1")
    Store(settings).put(Address("models", f"{model}/1/{bundles.MODEL}"), b"changed")

    with pytest.raises(BundleError, match="was changed after publishing"):
        registry.fetch(settings, model, "1", tmp_path / "served" / "1")

    assert list((tmp_path / "served").iterdir()) == []


def test_an_unknown_version_is_refused_with_the_choice(
    settings: Settings, model: str, make: Callable[[str], Bundle], tmp_path: Path
) -> None:
    registry.publish(settings, make("one"), "run-1")

    with pytest.raises(RegistryError, match="no version '7': choose one of 1"):
        registry.fetch(settings, model, "7", tmp_path / "x")


def test_dying_before_the_manifest_leaves_nothing_that_counts(
    settings: Settings, model: str, make: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def die(*_: object, **__: object) -> str:
            raise Killed

        patch.setattr(
            store.Store, "put", lambda self, address, content, **how: die() if "bundle" in address.key else ""
        )
        with pytest.raises(Killed):
            registry.publish(settings, make("one"), "run-1")
    leftovers = list(Store(settings).keys(Address("models", f"{model}/1")))
    version = registry.publish(settings, make("two"), "run-2")

    assert leftovers
    assert version.number == "1"
    assert [known.digest for known in tracking.versions(settings, model)] == [version.digest]


def test_dying_between_publishing_and_registering_is_finished_by_the_next_run(
    settings: Settings, model: str, make: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def die(*_: object, **__: object) -> int:
            raise Killed

        patch.setattr(tracking, "create_version", die)
        with pytest.raises(Killed):
            registry.publish(settings, make("one"), "run-1")
    before = tracking.versions(settings, model)
    resumed = registry.publish(settings, make("one"), "run-1")
    after = registry.publish(settings, make("two"), "run-2")

    assert before == []
    assert resumed.number == "1"
    assert after.number == "2"
    assert [version.run for version in tracking.versions(settings, model)] == ["run-1", "run-2"]


def test_a_number_that_a_deleted_version_used_is_skipped(
    settings: Settings, model: str, make: Callable[[str], Bundle], tmp_path: Path
) -> None:
    registry.publish(settings, make("one"), "run-1")
    registry.publish(settings, make("two"), "run-2")
    tracking.delete_version(settings, model, 2)
    registry._remove(Store(settings), Address("models", f"{model}/2"))
    version = registry.publish(settings, make("three"), "run-3")

    fetched = registry.fetch(settings, model, version.number, tmp_path / version.number)

    assert int(version.number) > 2
    assert fetched.version == version.number
    assert [str(known.number) for known in tracking.versions(settings, model)] == ["1", version.number]


def test_the_champion_is_nobody_until_a_release_says_so(
    settings: Settings, model: str, make: Callable[[str], Bundle]
) -> None:
    assert tracking.champion(settings, model) is None

    version = registry.publish(settings, make("one"), "run-1")
    before = tracking.champion(settings, model)
    tracking.set_champion(settings, model, version.number)

    assert before is None
    assert tracking.champion(settings, model) == "1"


def test_an_unsealed_folder_is_no_bundle(make: Callable[[str], Bundle]) -> None:
    bundle = make("one")
    (bundle.folder / bundles.MANIFEST).unlink()

    with pytest.raises(BundleError, match="is not a bundle"):
        bundles.load(bundle.folder)


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_one_damaged_file_is_found(make: Callable[[str], Bundle], damage: str) -> None:
    bundle = make("one")
    target = bundle.folder / bundles.GOLDEN
    target.write_text("{}") if damage == "change" else target.unlink()

    with pytest.raises(BundleError, match=r"golden\.json"):
        bundles.load(bundle.folder)


def test_a_newer_format_is_refused_with_the_remedy(make: Callable[[str], Bundle]) -> None:
    bundle = make("one")
    manifest = bundle.folder / bundles.MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": bundles.FORMAT + 1}))

    with pytest.raises(BundleError, match="upgrade the server"):
        bundles.load(bundle.folder)


def test_sealing_says_which_file_is_absent(make: Callable[[str], Bundle]) -> None:
    bundle = make("one")
    (bundle.folder / bundles.REFERENCE).unlink()

    with pytest.raises(BundleError, match=r"lacks reference\.json"):
        bundles.seal(replace(bundle))
