from __future__ import annotations

from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, model_validator

from supir_console import Config, Text, UserError, config_hash, config_yaml, load_config


class Optimizer(Config):
    learning_rate: float = Field(1e-5, gt=0, description="AdamW learning rate.")


class Batches(Config):
    batch: int = Field(16, description="Images a step.")

    @model_validator(mode="after")
    def _splits(self):
        if self.batch % 4:
            raise ValueError(f"batch={self.batch} is not a multiple of 4; use 16")
        return self


class Training(Config):
    batches: Batches = Batches()
    steps: int = Field(100, ge=1, description="Optimizer steps.")
    words: list[str] = Field(["a", "b"], description="Words.")
    optimizer: Optimizer = Optimizer()


class Question(Config):
    words: Text = ""


def test_a_text_has_whole_letters():
    assert load_config(Question, None, ['words="caf\u00e9 \U0001f600"']).words == "caf\u00e9 \U0001f600"
    with pytest.raises(UserError, match=r"^config key 'words': it holds half a letter \(U\+D83D at 2\)"):
        load_config(Question, None, [r'words="a \ud83d"'])


def test_defaults_stand_when_nothing_is_given():
    assert load_config(Training) == Training()


def test_file_then_overrides_in_that_order(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("steps: 7\noptimizer: {learning_rate: 0.5}\n")
    config = load_config(Training, path, ["optimizer.learning_rate=2e-3", "words=[x]"])
    assert (config.steps, config.optimizer.learning_rate, config.words) == (7, 2e-3, ["x"])


def test_unknown_nested_key_names_the_nearest(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("optimizer: {learning_rat: 1}\n")
    with pytest.raises(
        UserError,
        match=r"train\.yaml: unknown config key 'optimizer\.learning_rat'; did you mean 'optimizer\.learning_rate'\?",
    ):
        load_config(Training, path)


def test_a_key_of_another_group_is_named_there():
    with pytest.raises(
        UserError, match=r"unknown config key 'learning_rate'; did you mean 'optimizer\.learning_rate'\?"
    ):
        load_config(Training, None, ["learning_rate=1"])


def test_a_key_like_no_other_is_told_what_there_is():
    with pytest.raises(UserError, match=r"unknown config key 'batches\.xyz'; known are batches\.batch$"):
        load_config(Training, None, ["batches.xyz=1"])


def test_a_value_in_the_place_of_a_group_is_told():
    with pytest.raises(
        UserError, match=r"'optimizer' is a group of keys, not a value \(got 3\); set keys below"
    ):
        load_config(Training, None, ["optimizer=3"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("batches: {batch: 4}\nsteps: 3\nbatches:\n  batch: 8\n", "'batches' twice, in lines 1 and 3"),
        ("optimizer:\n  learning_rate: 1\n  learning_rate: 1\n", "'learning_rate' twice, in lines 2 and 3"),
        ("words:\n- {a: 1, a: 2}\n", "'a' twice, in lines 2 and 2"),
    ],
)
def test_a_key_that_a_file_has_twice_is_refused(tmp_path, content, told):
    (tmp_path / "train.yaml").write_text(content)
    with pytest.raises(UserError, match=rf"train\.yaml has the key {told}; the second would replace"):
        load_config(Training, tmp_path / "train.yaml")


def test_an_anchor_that_two_groups_share_has_no_key_twice(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("batches: &few {batch: 4}\noptimizer: {learning_rate: 1}\nwords: [&w steps, *w]\n")
    assert load_config(Training, path).words == ["steps", "steps"]


class Blur(Config):
    do: Literal["blur"]
    sigma_px: float = 1.0


class Recipe(Config):
    steps: tuple[Annotated[Blur | Optimizer, Field()], ...] = ()


def test_an_unknown_key_inside_a_list_names_the_nearest():
    with pytest.raises(
        UserError, match=r"'steps\.0\.Blur\.sigma'; did you mean 'steps\.0\.Blur\.sigma_px'\?"
    ):
        load_config(Recipe, None, ["steps=[{do: blur, sigma: 3}]"])


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("steps", "--set 'steps' has no KEY=VALUE form"),
        ("steps=0", r"config key 'steps': .*greater than or equal to 1 \(got 0\)"),
        ("steps.a=1", "config key 'steps'"),
        ("words=[", "not readable YAML"),
    ],
)
def test_bad_override_says_what_is_wrong(override, text):
    with pytest.raises(UserError, match=text):
        load_config(Training, None, [override])


@pytest.mark.parametrize(("content", "text"), [("- 1\n", "holds a list"), ("a: [", "not readable YAML")])
def test_file_that_is_no_mapping_is_refused(tmp_path, content, text):
    path = tmp_path / "train.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=text):
        load_config(Training, path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml does not exist"):
        load_config(Training, tmp_path / "absent.yaml")


def test_printed_config_reads_back_and_carries_its_comments(tmp_path):
    config = Training(steps=3, optimizer=Optimizer(learning_rate=0.25))
    text = config_yaml(config)
    assert "# AdamW learning rate." in text
    assert yaml.safe_load(text) == config.model_dump()
    path = tmp_path / "printed.yaml"
    path.write_text(text)
    assert load_config(Training, path) == config


def test_hash_follows_values_and_not_the_order_they_came_in():
    assert config_hash(Training(steps=2)) != config_hash(Training(steps=3))
    assert config_hash(load_config(Training, None, ["words=[a]", "steps=2"])) == config_hash(
        load_config(Training, None, ["steps=2", "words=[a]"])
    )


def test_a_validator_speaks_in_its_own_words():
    with pytest.raises(UserError) as caught:
        load_config(Training, None, ["batches.batch=6"])
    assert str(caught.value) == "config key 'batches': batch=6 is not a multiple of 4; use 16"
    with pytest.raises(UserError) as caught:
        load_config(Batches, None, ["batch=6"])
    assert str(caught.value) == "batch=6 is not a multiple of 4; use 16"


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_numbers_that_are_none_are_refused_in_every_config(value: str) -> None:
    class Rates(Config):
        rate: float = 1.0
        weights: dict[str, float] = {}  # noqa: RUF012 - pydantic copies it

    for override in (f"rate={value}", f"weights.a={value}"):
        with pytest.raises(UserError, match=r"finite number \(got -?(nan|inf)\)"):
            load_config(Rates, None, [override])


class Mixed(Config):
    strength: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = 1.0
    sizes: dict[str, int] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("most", "Input should be 'auto' or a valid number (got 'most')"),
        ("2", "Input should be 'auto' or less than or equal to 1 (got 2)"),
    ],
)
def test_what_no_member_of_a_union_takes_is_said_once(value, rule):
    with pytest.raises(UserError) as raised:
        load_config(Mixed, None, [f"strength={value}"])
    assert str(raised.value) == f"config key 'strength': {rule}"


def test_two_wrong_values_of_a_mapping_are_two_errors():
    with pytest.raises(UserError, match=r"'sizes.a': .*; config key 'sizes.b': "):
        load_config(Mixed, None, ["sizes.a=x", "sizes.b=y"])
