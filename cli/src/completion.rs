//! Completion scripts for shells.

use std::io::Write as _;

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell as Generator;

/// The shells that a script can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Flags of `orlop completion`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script to standard output.
pub(crate) fn print(flags: &Flags) -> anyhow::Result<()> {
    let generator = match flags.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut crate::Arguments::command(), "orlop", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
