//! kubectl and helm as oracles: walks through all that they can do say on our server what they
//! said on a real kube-apiserver 1.36, but for differences that are named.
//!
//! | Variable | What it does |
//! |----------|--------------|
//! | `ORLOP_WALK_REAL` | a kubeconfig: the walks are taken there, and what they say is kept |
//! | `ORLOP_WALK_ONLY` | the one walk that is taken |
//! | `ORLOP_WALK_WRITE` | what ours says is written down where a reason stands or is missing |
//!
//! A real server for `ORLOP_WALK_REAL` is empty and has the address ranges and the users of
//! `support`, and `--advertise-address=10.77.0.3`.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::print_stderr, reason = "a difference is shown whole")]

#[path = "kubectl/normal.rs"]
mod normal;
mod support;
#[path = "kubectl/transcript.rs"]
mod transcript;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use normal::Normal;
use transcript::Step;

use support::{Cluster, Store};

/// Walks of one line are taken one after the other: they look at the same cluster-wide objects. The
/// lines of one round are taken side by side.
const ROUNDS: &[&[&[&str]]] = &[
    &[&["alone"]],
    &[&["get", "cluster", "helm", "custom"], &["create", "access"], &["apply", "change"]],
];

/// Why ours may say something else.
const REASONS: &[(&str, &str)] = &[
    ("kinds", "Binding is served as a subresource of pods and is not listed as a kind of its own"),
    ("explain", "upstream says a sentence of each value of an enum, which no crate has"),
    ("admission", "the recorded server adds an authority of its vendor to token volumes"),
    ("exec", "commands in containers are not implemented"),
    ("shown", "the difference of two pods is not shown in the form of Go's structures"),
    ("order", "the documents say the same; fields come in another order"),
    ("scale", "who wrote through the subresource scale has a time, which upstream forgets"),
    ("legacy", "ours makes no legacy tokens, and so notes nobody's use of them"),
];

/// Where one line of walks goes.
struct Way {
    kubectl: PathBuf,
    /// The kubeconfig, but for its namespace.
    kubeconfig: String,
    folder: tempfile::TempDir,
    normal: Normal,
}

impl Way {
    fn new(kubectl: &Path, kubeconfig: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let normal = Normal::new(folder.path().to_str().unwrap());
        Self { kubectl: kubectl.to_owned(), kubeconfig: kubeconfig.to_owned(), folder, normal }
    }

    fn run(&self, command: &str) -> String {
        let programs = self.kubectl.parent().unwrap().display().to_string();
        let others = env::var("PATH").unwrap_or_default();
        let out = Command::new("bash")
            .args(["-c", command])
            .current_dir(walks())
            .env("PATH", format!("{programs}:{others}"))
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .env("KUBECACHEDIR", self.folder.path().join("cache"))
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.folder.path())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| self.normal.of(&String::from_utf8_lossy(bytes));
        transcript::outcome(&text(&out.stdout), &text(&out.stderr), out.status.code())
    }

    /// Takes a walk in a namespace of its own.
    fn take(&self, walk: &str) -> Vec<(Step, String)> {
        let kubeconfig = self.kubeconfig.replace("NAMESPACE", &format!("walk-{walk}"));
        fs::write(self.folder.path().join("kubeconfig"), kubeconfig).unwrap();
        let made = self.run(&format!("kubectl create ns walk-{walk}"));
        assert_eq!(made, format!("| namespace/walk-{walk} created\n"));
        let text = fs::read_to_string(walks().join(format!("{walk}.txt"))).unwrap();
        let mut told = Vec::new();
        for step in transcript::parse(&text) {
            let begun = Instant::now();
            let said = self.run(&step.command);
            if env::var_os("ORLOP_WALK_TIMES").is_some() {
                eprintln!("{:5} ms {}", begun.elapsed().as_millis(), step.command);
            }
            told.push((step, said));
        }
        told
    }
}

fn walks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl")
}

fn write(walk: &str, steps: &[Step]) {
    fs::write(walks().join(format!("{walk}.txt")), transcript::format(steps)).unwrap();
}

/// Compares what was said with what is written down; the number of steps that differ, and what is
/// wrong about them.
fn judge(walk: &str, told: Vec<(Step, String)>) -> (usize, String) {
    let writes = env::var_os("ORLOP_WALK_WRITE").is_some();
    let mut wrong = String::new();
    let mut different = 0;
    let mut steps = Vec::new();
    for (mut step, said) in told {
        let is_known = REASONS.iter().any(|(name, _)| *name == step.reason);
        let is_same = said == step.real;
        different += usize::from(!is_same);
        if writes {
            step.ours = if is_same { String::new() } else { said.clone() };
            let reason = if is_known { step.reason.as_str() } else { "?" };
            step.reason = if is_same { String::new() } else { reason.to_owned() };
        } else if is_same != step.reason.is_empty() || !is_same && (!is_known || said != step.ours)
        {
            let expected = if step.reason.is_empty() { &step.real } else { &step.ours };
            let _ = writeln!(
                wrong,
                "--- {walk}: $ {}\nreason {:?}; expected\n{expected}and it said\n{said}",
                step.command, step.reason
            );
        }
        steps.push(step);
    }
    if writes {
        write(walk, &steps);
    }
    (different, wrong)
}

fn kubeconfig(cluster: &Cluster) -> String {
    let der = base64::engine::general_purpose::STANDARD.encode(&cluster.certificate);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    let authority = base64::engine::general_purpose::STANDARD.encode(pem);
    let (address, token) = (cluster.running.address, support::ADMIN);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: c, cluster: {{server: \
         \"https://{address}\", certificate-authority-data: {authority}}}}}]\nusers: [{{name: u, \
         user: {{token: {token}}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u, \
         namespace: NAMESPACE}}}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_cannot_tell_ours_from_the_real_one() {
    let Some(kubectl) = testbed::program("kubectl") else { return };
    let real = env::var("ORLOP_WALK_REAL").ok();
    let mut ours = None;
    let kubeconfig = if let Some(path) = &real {
        fs::read_to_string(path).unwrap()
    } else {
        let advertise = "10.77.0.3".parse().unwrap();
        let store = Arc::new(Store::own(1));
        let change = |config: &mut api_server::Config| {
            config.advertise = advertise;
            for user in config.tokens.values_mut() {
                user.uid.clone_from(&user.name);
            }
        };
        let cluster = Cluster::with(&store, 0, change).await;
        kubeconfig(ours.insert(cluster))
    };
    let (mut count, mut different, mut wrong) = (0, 0, String::new());
    for lines in ROUNDS {
        let taken = lines.iter().map(|line| {
            let way = Way::new(&kubectl, &kubeconfig);
            tokio::task::spawn_blocking(move || {
                let only = env::var("ORLOP_WALK_ONLY").ok();
                let walks =
                    line.iter().filter(|walk| only.as_deref().is_none_or(|one| one == **walk));
                walks.map(|walk| (*walk, way.take(walk))).collect()
            })
        });
        let taken: Vec<_> = taken.collect();
        for line in taken {
            let told: Vec<(&str, Vec<(Step, String)>)> = line.await.unwrap();
            for (walk, told) in told {
                if real.is_some() {
                    let set = |(step, real): (Step, String)| Step { real, ..step };
                    write(walk, &told.into_iter().map(set).collect::<Vec<_>>());
                    continue;
                }
                count += told.len();
                let judged = judge(walk, told);
                different += judged.0;
                wrong.push_str(&judged.1);
            }
        }
    }
    eprintln!("{different} of {count} differ for known reasons, where nothing else is said");
    assert!(wrong.is_empty(), "{wrong}");
}
