"""Nodes that say how to restore: a preset by name, or every setting as a widget.

Place in the flow: `restoring` takes what comes out. The widgets are made from `RestoreSettings`, so that a setting that
is new there is one here.
The law it keeps: -1 stands for what is no number (null, or `auto`), since ComfyUI's numbers have no such value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from supir_infer import PRESETS, RestoreSettings
from supir_infer.settings import PRESET_BASES, change_settings

AUTOMATIC = ("strength", "working_scale")
"""Keys whose value that is no number is `auto`; of all others it is null."""
CATEGORY = "SUPIR"
OF_THE_NODE = ("upscale", "output_format", "output_bits", "output_quality")
"""What `SupirRestore` asks for itself, or what files alone have."""
NO_NUMBER = -1


@dataclass(frozen=True)
class Chosen:
    """Settings; `preset` names the one that they are as a whole, "" where they were put together."""

    settings: RestoreSettings
    preset: str = ""


class SupirPreset:
    """Chooses a preset."""

    CATEGORY = CATEGORY
    FUNCTION = "choose"
    RETURN_TYPES = ("SUPIR_SETTINGS",)
    RETURN_NAMES = ("settings",)
    DESCRIPTION = "A preset as a whole; one for another size of model is refused."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        said = "; ".join(f"{name}: {base.needs}" for name, base in PRESET_BASES.items() if base.needs)
        return {"required": {"preset": (list(PRESETS), {"tooltip": f"For special models alone: {said}"})}}

    def choose(self, preset: str) -> tuple[Chosen]:
        """Returns its settings."""
        return (Chosen(PRESETS[preset], preset),)


class _Settings:
    """Every setting as a widget, starting from a preset."""

    PRESET: ClassVar[str]
    CATEGORY = CATEGORY
    FUNCTION = "choose"
    RETURN_TYPES = ("SUPIR_SETTINGS",)
    RETURN_NAMES = ("settings",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Returns the node's inputs."""
        schema = RestoreSettings.model_json_schema()["properties"]
        start = PRESETS[cls.PRESET].model_dump()
        return {
            "required": {key: _widget(schema[key], start[key]) for key in start if key not in OF_THE_NODE}
        }

    def choose(self, **values: Any) -> tuple[Chosen]:
        """Returns the settings of the widgets.

        Raises:
            UserError: values that do not go together.
        """
        given = {key: _value(key, value) for key, value in values.items()}
        return (Chosen(change_settings(PRESETS[self.PRESET], given)),)


class SupirSettingsSmall(_Settings):
    """Every setting, starting from `mini`."""

    PRESET = "mini"
    DESCRIPTION = (
        "Every setting, as mini has them at first. -1 is null, or auto for strength and working_scale."
    )


class SupirSettingsSdxl(_Settings):
    """Every setting, starting from `fidelity`."""

    PRESET = "fidelity"
    DESCRIPTION = (
        "Every setting, as fidelity has them at first. -1 is null, or auto for strength and working_scale."
    )


def _widget(schema: dict[str, Any], start: Any) -> tuple[Any, ...]:
    """The widget of a setting with this JSON schema that starts with this value."""
    options = schema.get("anyOf", [schema])
    tooltip = {"tooltip": schema["description"]}
    numbers = [option for option in options if option.get("type") in ("number", "integer")]
    names = [name for option in options for name in option.get("enum", [option.get("const")]) if name]
    if not numbers:
        kind: Any = names or "STRING"
        return (kind, {"default": start, **tooltip, **({} if names else {"multiline": True})})
    if len(names) > 1:  # a number beside several names, as of size_condition
        return ("STRING", {"default": str(start), **tooltip})
    number = numbers[0]
    is_whole = number["type"] == "integer"
    limits = {"min": NO_NUMBER if len(options) > 1 else number["minimum"], "max": number["maximum"]}
    steps = {"step": number.get("multipleOf", 1)} if is_whole else {"step": 0.01, "round": 0.001}
    value = start if isinstance(start, int | float) else NO_NUMBER
    return ("INT" if is_whole else "FLOAT", {"default": value, **limits, **steps, **tooltip})


def _value(key: str, value: Any) -> Any:
    if key == "size_condition":
        return int(value) if value.isdigit() else value
    if value == NO_NUMBER:
        return "auto" if key in AUTOMATIC else None
    return value
