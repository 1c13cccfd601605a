//! Rules about the workspace, as tests: see `tests/tidy.rs`. There is no code here to use.
