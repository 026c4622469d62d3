"""The habits that every command of supir-stack shares: errors, config files, progress, summaries.

Place in the flow: below every stage that has a command, above nothing. `shards` and `model` are libraries
and do not use it.
"""

from supir_console.config import Config, config_hash, config_yaml, hash_of, load_config
from supir_console.counting import counted
from supir_console.entry import Unfinished, UserError, by_first_word, entry, is_our_word_on_input
from supir_console.letters import Text, whole_letters
from supir_console.option_groups import ungrouped
from supir_console.options import ConfigOption, DryRunOption, JsonOption, PrintConfigOption, SetOption
from supir_console.outputs import require_outside, require_writable_file, require_writable_folder
from supir_console.progress import Progress, track
from supir_console.ray_nodes import NodeWait
from supir_console.ray_pool import Outcome, raise_if_about_input, run_on_actors
from supir_console.ray_session import ray_session
from supir_console.signals import handling_stop_signals, ignore_stop_signals, let_signals_end
from supir_console.summary import finish, json_line, one_line
from supir_console.threads import limit_threads
from supir_console.versions import installed_version

__all__ = [
    "Config",
    "ConfigOption",
    "DryRunOption",
    "JsonOption",
    "NodeWait",
    "Outcome",
    "PrintConfigOption",
    "Progress",
    "SetOption",
    "Text",
    "Unfinished",
    "UserError",
    "by_first_word",
    "config_hash",
    "config_yaml",
    "counted",
    "entry",
    "finish",
    "handling_stop_signals",
    "hash_of",
    "ignore_stop_signals",
    "installed_version",
    "is_our_word_on_input",
    "json_line",
    "let_signals_end",
    "limit_threads",
    "load_config",
    "one_line",
    "raise_if_about_input",
    "ray_session",
    "require_outside",
    "require_writable_file",
    "require_writable_folder",
    "run_on_actors",
    "track",
    "ungrouped",
    "whole_letters",
]
