"""`supir-web`: the restorer as a page on this machine.

Place in the flow: the command line of `web`. It listens on 127.0.0.1 unless told otherwise and never opens
a share link by itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from supir_console import ConfigOption, SetOption, entry
from supir_infer import options as opt
from supir_infer.cli import read_settings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def web(
    model: opt.ModelOption = None,
    base: opt.BaseOption = None,
    checkpoint: opt.CheckpointOption = None,
    preset: opt.PresetOption = None,
    device: opt.DeviceOption = "auto",
    dtype: opt.DtypeOption = "auto",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port.")] = 7860,
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    share: Annotated[bool, typer.Option("--share", help="Also open a public gradio.live link.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
) -> None:
    """Serves the restorer as a page; Ctrl-C ends it. The sliders start from the preset and --set."""
    from supir_infer.model_source import load_model, resolve_model

    source = resolve_model(model, base, checkpoint)
    settings = read_settings(preset or source.settings_preset(), config, {}, overrides)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
    from supir_infer.restore import Restorer
    from supir_infer.web import MAX_UPLOAD_BYTES, THEME, Studio, build_page

    restorer = Restorer(load_model(source, device, dtype), settings)
    sys.stderr.write(f"supir-web: http://{host}:{port} (Ctrl-C ends it)\n")
    with tempfile.TemporaryDirectory(prefix="supir-web-") as folder:
        build_page(Studio(restorer, source.name, source.sha256(), Path(folder))).launch(
            server_name=host,
            server_port=port,
            share=share,
            quiet=True,
            theme=THEME,
            ssr_mode=False,
            footer_links=[],
            show_error=True,
            max_file_size=MAX_UPLOAD_BYTES,
        )


main = entry(app)
