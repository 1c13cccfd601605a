//! Which container runtime the nodes get, and why.

use std::fmt;

use anyhow::bail;
use clap::ValueEnum;

/// What `--runtime` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// containerd where this machine allows it, else fake
    Auto,
    /// Real containers: needs root, containerd, runc and the CNI plugins
    Containerd,
    /// Pods become Running with an address, but no process is started
    Fake,
}

/// What the nodes run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    Containerd,
    Fake,
}

impl fmt::Display for Runtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Containerd => "containerd",
            Self::Fake => "fake",
        })
    }
}

/// Decides; the second value is a remark for the screen. `machine` is what keeps this machine from
/// running containers, if anything does.
pub(crate) fn choose(
    choice: Choice,
    machine: Result<(), String>,
) -> anyhow::Result<(Runtime, Option<String>)> {
    match (choice, machine) {
        (Choice::Fake, _) => Ok((Runtime::Fake, None)),
        (Choice::Auto | Choice::Containerd, Ok(())) => Ok((Runtime::Containerd, None)),
        (Choice::Auto, Err(why)) => Ok((
            Runtime::Fake,
            Some(format!("pods are only acted out, by the fake runtime: {why}")),
        )),
        (Choice::Containerd, Err(why)) => bail!("{why}; mend that, or choose --runtime fake"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_falls_back_and_says_why_while_containerd_is_refused() {
        let lacking = || Err("containers cannot run here: not running as root".to_owned());
        let (runtime, remark) = choose(Choice::Auto, lacking()).unwrap();
        assert_eq!(runtime, Runtime::Fake);
        assert!(remark.unwrap().contains("not running as root"));
        let refusal = choose(Choice::Containerd, lacking()).unwrap_err().to_string();
        assert!(refusal.contains("root") && refusal.contains("--runtime fake"), "{refusal}");
        assert_eq!(choose(Choice::Auto, Ok(())).unwrap(), (Runtime::Containerd, None));
        assert_eq!(choose(Choice::Fake, Ok(())).unwrap(), (Runtime::Fake, None));
    }
}
