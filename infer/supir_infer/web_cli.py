"""`supir-web`: the restorer as a page on this machine.

Place in the flow: the command line of `web`. It listens on 127.0.0.1 unless told otherwise and never opens
a share link by itself.
The law it keeps: what visitors brought and got lies in one temporary folder, which goes when the command ends, by
Ctrl-C or by a signal to end.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supir_console import ConfigOption, SetOption, UserError, entry, ungrouped
from supir_infer import options as opt
from supir_infer.cli import read_settings

if TYPE_CHECKING:
    from supir_infer.web import Studio

MAX_PORT = 65535

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@ungrouped
def web(
    *,
    model: opt.ModelOptions,
    preset: opt.PresetOption = None,
    device: opt.DeviceOption = "auto",
    dtype: opt.DtypeOption = "auto",
    lora: opt.LoraOption = [],  # noqa: B006 - typer copies it
    float8: opt.Float8Option = False,
    offload: opt.OffloadOption = None,
    compiled: opt.CompileOption = False,
    port: Annotated[int, typer.Option(min=0, max=MAX_PORT, help="TCP port; 0 takes a free one.")] = 7860,
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    share: Annotated[bool, typer.Option("--share", help="Also open a public gradio.live link.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
) -> None:
    """Serves the restorer as a page; Ctrl-C ends it. The sliders start from the preset and --set."""
    from supir_infer.model_source import load_model
    from supir_infer.page_presets import offered
    from supir_infer.preset_base import tell_needs
    from supir_infer.running import Execution

    source = model.changed(lora, float8)
    first = preset or source.settings_preset()
    read_settings(first, config, {}, overrides)  # a wrong one is said before its name is looked up
    tell_needs(preset, source)
    presets = {name: read_settings(name, config, {}, overrides) for name in offered(first)}
    port = free_port(host, port)
    with tempfile.TemporaryDirectory(prefix="supir-web-") as folder:
        # gradio reads both when it is imported
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        from supir_infer.page_visits import Visits
        from supir_infer.web import Studio

        results = Path(folder) / "results"
        visits = Visits(results)
        supir = load_model(source, device, dtype, Execution(offload, compiled))
        studio = Studio(supir, source.described(), source.sha256(), presets, visits)
        sys.stderr.write(f"supir-web: http://{host}:{port} (Ctrl-C ends it)\n")
        try:
            _launch(studio, results, host, port, share=share)
        finally:
            visits.stop_all()


def _launch(studio: Studio, results: Path, host: str, port: int, *, share: bool) -> None:
    from supir_infer.web import MAX_UPLOAD_BYTES, THEME, build_page, page_style

    build_page(studio).launch(
        server_name=host,
        server_port=port,
        share=share,
        quiet=True,
        theme=THEME,
        css=page_style(),
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=MAX_UPLOAD_BYTES,
        allowed_paths=[str(results)],
    )


def free_port(host: str, port: int) -> int:
    """Returns the port to listen on: `port`, or one that is free where it is 0.

    Raises:
        UserError: another program has it, or `host` is no address of this machine.
    """
    local = "127.0.0.1"
    chosen = _bound(host, port)
    return chosen if host in (local, "0.0.0.0") or ":" in host else _bound(local, chosen)  # noqa: S104 - gradio asks there too


def _bound(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    no_address = f"--host {host} is no address of this machine; use 127.0.0.1 or 0.0.0.0"
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except socket.gaierror as error:
            raise UserError(no_address) from error
        except PermissionError as error:
            raise UserError(f"--port {port} needs rights that you have not; use one from 1024 on") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UserError(no_address) from error
            another = port + 1 if port < MAX_PORT else port - 1
            raise UserError(
                f"port {port} of {host} is taken by another program, perhaps another supir-web; give another with "
                f"--port {another}, or --port 0 for a free one"
            ) from error
        return int(probe.getsockname()[1])


main = entry(app)
