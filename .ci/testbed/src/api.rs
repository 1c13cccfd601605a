//! A Kubernetes API server to run clients on: controllers, a scheduler.
#![expect(clippy::panic, reason = "a failed helper is a failed test")]
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(clippy::print_stderr, reason = "a failed test shows what its server said")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// How long anything that a test waits for may take.
pub const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// One question to the server.
const ASK_DEADLINE: Duration = Duration::from_secs(5);
const TOKEN: &str = "testbed-admin";
/// Tells a process of ours that it ends with the one that started it.
const SUPERVISOR: &str = "ORLOP_SUPERVISOR_PID";

/// An API server that serves; one of ours ends with the test.
#[derive(Debug)]
pub struct ApiServer {
    kubeconfig: PathBuf,
    own: Option<Own>,
}

/// A store and an API server, processes of the built binary.
#[derive(Debug)]
struct Own {
    dir: tempfile::TempDir,
    parts: Vec<(&'static str, Child)>,
}

impl ApiServer {
    /// The server that `ORLOP_TEST_KUBECONFIG` names (an administrator's), whoever made it; without
    /// one, a store and an API server of this build, on ports of their own and without any object.
    ///
    /// Call it on the test's own thread: the processes end when that does.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start() -> Self {
        if let Some(kubeconfig) = std::env::var_os("ORLOP_TEST_KUBECONFIG").map(PathBuf::from) {
            return Self { kubeconfig, own: None };
        }
        let binary = crate::orlop(&["proto", "store", "api/machinery", "api/server"]);
        let dir = tempfile::Builder::new().prefix("orlop-testbed-").tempdir().unwrap();
        let address = own_address();
        let ports = own_ports();
        let url = |port: u16| format!("http://{address}:{port}");
        let made = rcgen::generate_simple_self_signed([address.clone()]).unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let certificate = write("serving.crt", &made.cert.pem());
        let key = write("serving.key", &made.signing_key.serialize_pem());
        let signing = rcgen::KeyPair::generate().unwrap();
        let signing = write("accounts.key", &signing.serialize_pem());
        let tokens = write("tokens.csv", &format!("{TOKEN},admin,1,\"system:masters\"\n"));
        let server = format!("https://{address}:{}", ports[2]);
        let kubeconfig = write("kubeconfig", &kubeconfig(&server, &certificate));

        let mut own = Own { dir, parts: Vec::new() };
        let flags = [
            ("name", "one".into()),
            ("data-dir", own.dir.path().join("store").into_os_string()),
            ("listen-client-urls", url(ports[0]).into()),
            ("advertise-client-urls", url(ports[0]).into()),
            ("listen-peer-urls", url(ports[1]).into()),
            ("initial-advertise-peer-urls", url(ports[1]).into()),
            ("initial-cluster", format!("one={}", url(ports[1])).into()),
        ];
        own.spawn(&binary, "store", &flags);
        let flags = [
            ("etcd-servers", url(ports[0]).into()),
            ("bind-address", address.clone().into()),
            ("secure-port", ports[2].to_string().into()),
            ("tls-cert-file", certificate.into()),
            ("tls-private-key-file", key.into()),
            ("token-auth-file", tokens.into()),
            ("authorization-mode", "RBAC".into()),
            ("service-account-signing-key-file", signing.into()),
            ("service-account-issuer", "https://kubernetes.default.svc".into()),
        ];
        own.spawn(&binary, "apiserver", &flags);
        own.wait_ready(&address, ports[2], made.cert.der().clone()).await;
        Self { kubeconfig, own: Some(own) }
    }

    /// A kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Whether it is this test's alone: it may be made to suffer.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }
}

impl Own {
    fn spawn(&mut self, binary: &Path, part: &'static str, flags: &[(&str, OsString)]) {
        let log = File::create(self.log(part)).unwrap();
        let mut command = Command::new(binary);
        command.arg(part);
        for (name, value) in flags {
            let mut flag = OsString::from(format!("--{name}="));
            flag.push(value);
            command.arg(flag);
        }
        let child = command
            .env(SUPERVISOR, std::process::id().to_string())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.parts.push((part, child));
    }

    fn log(&self, part: &str) -> PathBuf {
        self.dir.path().join(format!("{part}.log"))
    }

    async fn wait_ready(&mut self, address: &str, port: u16, certificate: CertificateDer<'static>) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let asked = ask(address, port, certificate.clone());
            let answer = tokio::time::timeout(ASK_DEADLINE, asked).await;
            match answer {
                Ok(Ok(line)) if line.contains(" 200 ") => return,
                Ok(Ok(_) | Err(_)) | Err(_) => {}
            }
            for (part, child) in &mut self.parts {
                if let Some(ended) = child.try_wait().unwrap() {
                    panic!("{part} ended with {ended}");
                }
            }
            assert!(Instant::now() < deadline, "the API server is not ready in time: {answer:?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for (part, child) in &mut self.parts {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = self.dir.path().join(format!("{part}.log"));
                let text = fs::read_to_string(log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let end = lines[lines.len().saturating_sub(20)..].join("\n");
                eprintln!("--- the end of the log of {part}:\n{end}");
            }
        }
    }
}

/// The first line of the answer to `GET /readyz`.
async fn ask(
    address: &str,
    port: u16,
    certificate: CertificateDer<'static>,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(std::io::Error::other)?;
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from(address.to_owned()).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect((address, port)).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!(
        "GET /readyz HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn kubeconfig(server: &str, certificate: &Path) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n    \
         server: {server}\n    certificate-authority: {}\nusers:\n- name: test\n  user:\n    \
         token: {TOKEN}\ncontexts:\n- name: test\n  context: {{cluster: test, user: test}}\n",
        certificate.display()
    )
}

/// A loopback address that no other test process uses at this time.
fn own_address() -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{}", 214 + pid / 62_500 % 40, 1 + pid / 250 % 250, 1 + pid % 250)
}

/// Three ports of that address which no other server of this process uses, out of the range from
/// which the kernel hands out ports.
fn own_ports() -> [u16; 3] {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + CALLS.fetch_add(1, Ordering::Relaxed) % 1_000 * 4;
    [first, first + 1, first + 2]
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within [`DEADLINE`].
pub async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(POLL).await;
    }
}
