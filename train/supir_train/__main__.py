"""`python -m supir_train CONFIG`: the command `supir-train`, for `torchrun … -m supir_train CONFIG`."""

from supir_train.cli import main

main()
