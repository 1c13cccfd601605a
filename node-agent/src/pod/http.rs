//! The GET of probes and hooks; nobody's certificate is asked for.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{HTTPGetAction, HTTPHeader};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::limits::{PROBE_BODY_BYTES_MAX, PROBE_REDIRECTS_MAX};

/// Asks as a probe says. A way to another page of the same host is followed; one that leads away
/// from the host is an answer like any other, and a good one.
pub(super) async fn probe(action: &HTTPGetAction, host: &str, port: u16) -> Result<(), String> {
    let mut page = Page::of(action, host, port);
    for _ in 0..PROBE_REDIRECTS_MAX {
        let answer = ask(action, &page, "probe").await?;
        let next = answer.location.and_then(|location| page.next(&location));
        match next.filter(|_| (300..400).contains(&answer.code)) {
            Some(next) => page = next,
            None if (200..400).contains(&answer.code) => return Ok(()),
            None => return Err(format!("HTTP probe failed with statuscode: {}", answer.code)),
        }
    }
    Err(format!("stopped after {PROBE_REDIRECTS_MAX} redirects"))
}

/// Asks as a hook says: it is heard when anything answers, whatever the answer is. Behind a hook
/// that says HTTPS there may be plain HTTP, as old definitions have it.
pub(super) async fn hook(action: &HTTPGetAction, host: &str, port: u16) -> Result<(), String> {
    let page = Page::of(action, host, port);
    match ask(action, &page, "lifecycle").await {
        Err(Failure::NotTls) => ask(action, &Page { is_https: false, ..page }, "lifecycle").await?,
        answered => answered?,
    };
    Ok(())
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    is_https: bool,
    host: String,
    port: u16,
    path: String,
}

/// What came back.
struct Answer {
    code: u16,
    location: Option<String>,
}

impl Page {
    fn of(action: &HTTPGetAction, host: &str, port: u16) -> Self {
        let path = action.path.as_deref().unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        Self {
            is_https: action.scheme.as_deref() == Some("HTTPS"),
            host: host.to_owned(),
            port,
            path: format!("{slash}{path}"),
        }
    }

    /// Where a redirect leads, when that is the same host.
    fn next(&self, location: &str) -> Option<Self> {
        let scheme = if self.is_https { "https" } else { "http" };
        let whole = match location {
            _ if location.starts_with("//") => format!("{scheme}:{location}"),
            _ if location.starts_with('/') => {
                return Some(Self { path: location.to_owned(), ..self.clone() });
            }
            _ if location.contains("://") => location.to_owned(),
            _ => {
                let plain = self.path.split('?').next().unwrap_or_default();
                let folder = plain.rsplit_once('/').map_or("", |(folder, _)| folder);
                return Some(Self { path: format!("{folder}/{location}"), ..self.clone() });
            }
        };
        let to: http::Uri = whole.parse().ok()?;
        let is_https = to.scheme_str() == Some("https");
        let path = to.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = to.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = to.host()?.trim_matches(['[', ']']);
        (host == self.host).then(|| Self { is_https, host: host.to_owned(), port, path })
    }

    fn host_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// Whoever listens does not speak TLS.
    NotTls,
    Other(String),
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotTls => "server gave HTTP response to HTTPS client".to_owned(),
            Failure::Other(why) => why,
        }
    }
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

/// The request, with the definition's own headers before ours.
fn request(action: &HTTPGetAction, page: &Page, purpose: &str) -> String {
    let mut head = format!("GET {} HTTP/1.1\r\n", page.path);
    let own: Vec<_> = action.http_headers.iter().flatten().collect();
    for (name, value) in [
        ("Host", page.host_port()),
        ("User-Agent", format!("kube-{purpose}/1.36")),
        ("Accept", "*/*".to_owned()),
    ] {
        if !own.iter().any(|header| header.name.eq_ignore_ascii_case(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    // An empty Accept is the way to send none.
    let is_none = |h: &HTTPHeader| h.name.eq_ignore_ascii_case("accept") && h.value.is_empty();
    for header in own.into_iter().filter(|header| !is_none(header)) {
        head.push_str(&format!("{}: {}\r\n", header.name, header.value));
    }
    head + "Connection: close\r\n\r\n"
}

/// Sends the request and reads the head of the answer.
async fn ask(action: &HTTPGetAction, page: &Page, purpose: &str) -> Result<Answer, Failure> {
    let stream = TcpStream::connect((page.host.as_str(), page.port)).await.map_err(other)?;
    let request = request(action, page, purpose);
    if !page.is_https {
        return exchange(stream, &request).await;
    }
    let name = ServerName::try_from(page.host.clone()).map_err(other)?;
    let connector = TlsConnector::from(trusting()?);
    let stream = connector.connect(name, stream).await.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(Error::InvalidMessage(_)) => Failure::NotTls,
            Some(_) | None => other(error),
        }
    })?;
    exchange(stream, &request).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<Answer, Failure> {
    stream.write_all(request.as_bytes()).await.map_err(other)?;
    let mut head = Vec::new();
    let mut reader = stream.take(PROBE_BODY_BYTES_MAX as u64);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 512];
        match reader.read(&mut part).await.map_err(other)? {
            0 => break,
            n => head.extend_from_slice(&part[..n]),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let code =
        first.strip_prefix("HTTP/").and_then(|l| l.split(' ').nth(1)?.get(..3)?.parse().ok());
    let code = code.ok_or_else(|| Failure::Other(format!("malformed HTTP response {first:?}")))?;
    let headers = lines.take_while(|line| !line.is_empty());
    let location = headers.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    Ok(Answer { code, location })
}

/// A probe asks whether its container answers, not who signed its certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn trusting() -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(other)?;
    let verifier = Arc::new(AnyCertificate(provider));
    let config = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(config.with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::PrivateKeyDer;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with this status line; gives back what was asked.
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(head).unwrap()
    }

    fn action(value: serde_json::Value) -> HTTPGetAction {
        serde_json::from_value(value).unwrap()
    }

    #[tokio::test]
    async fn a_redirect_is_a_success_an_error_is_not_and_own_headers_are_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let mut asked = Vec::new();
            for line in ["302 Found", "500 Oops"] {
                asked.push(answer(listener.accept().await.unwrap().0, line).await);
            }
            asked
        });
        let own =
            json!({"path": "live", "port": 1, "httpHeaders": [{"name": "host", "value": "me"}]});
        assert_eq!(probe(&action(own), "127.0.0.1", port).await, Ok(()));
        let error = probe(&action(json!({"port": 1})), "127.0.0.1", port).await.unwrap_err();
        assert_eq!(error, "HTTP probe failed with statuscode: 500");
        let asked = served.await.unwrap();
        assert!(asked[0].starts_with("GET /live HTTP/1.1\r\n"), "{}", asked[0]);
        assert!(asked[0].contains("host: me\r\n") && !asked[0].contains("Host: "));
        assert!(asked[1].contains(&format!("Host: 127.0.0.1:{port}\r\n")), "{}", asked[1]);
        assert!(asked[1].contains("User-Agent: kube-probe/1.36\r\n"), "{}", asked[1]);
    }

    #[tokio::test]
    async fn a_redirect_is_followed_on_the_same_host_only_and_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let away = "302 Found\r\nLocation: http://192.0.2.1/x";
            let here = format!("301 Moved\r\nLocation: http://127.0.0.1:{port}/c?d");
            let mut asked = Vec::new();
            for line in ["307 T\r\nlocation: b", &here, "404 None", away] {
                asked.push(answer(listener.accept().await.unwrap().0, line).await);
            }
            for _ in 0..10 {
                answer(listener.accept().await.unwrap().0, "302 Found\r\nLocation: /").await;
            }
            asked
        });
        let action = action(json!({"port": 1, "path": "/live/a?q"}));
        let error = probe(&action, "127.0.0.1", port).await.unwrap_err();
        assert_eq!(error, "HTTP probe failed with statuscode: 404");
        assert_eq!(probe(&action, "127.0.0.1", port).await, Ok(()), "it leads away: good enough");
        let error = probe(&action, "127.0.0.1", port).await.unwrap_err();
        assert_eq!(error, "stopped after 10 redirects");
        let asked: Vec<String> = served
            .await
            .unwrap()
            .iter()
            .map(|head| head.lines().next().unwrap().to_owned())
            .collect();
        let want = ["GET /live/a?q", "GET /live/b", "GET /c?d", "GET /live/a?q"];
        assert_eq!(asked, want.map(|line| format!("{line} HTTP/1.1")));
    }

    #[tokio::test]
    async fn a_hook_is_heard_whatever_the_answer_and_even_when_the_server_speaks_no_tls() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let first = answer(listener.accept().await.unwrap().0, "500 Oops").await;
            // A TLS greeting has no line end: the server answers it as it answers all nonsense.
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            drop(stream);
            let second = answer(listener.accept().await.unwrap().0, "200 OK").await;
            [first, second]
        });
        let own = json!({"port": 1, "httpHeaders": [{"name": "user-agent", "value": "me"}]});
        assert_eq!(hook(&action(json!({"port": 1})), "127.0.0.1", port).await, Ok(()));
        let https = json!({"port": 1, "scheme": "HTTPS", "httpHeaders": own["httpHeaders"]});
        assert_eq!(hook(&action(https), "127.0.0.1", port).await, Ok(()));
        let asked = served.await.unwrap();
        assert!(asked[0].contains("User-Agent: kube-lifecycle/1.36\r\n"), "{}", asked[0]);
        assert!(asked[1].contains("user-agent: me\r\n"), "{}", asked[1]);
        assert!(!asked[1].contains("User-Agent:"), "{}", asked[1]);
        let nobody = hook(&action(json!({"port": 1})), "127.0.0.1", port).await;
        assert!(nobody.unwrap_err().contains("refused"));
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_signed_is_good_enough_for_a_probe() {
        let made = rcgen::generate_simple_self_signed(vec!["someone-else".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            answer(acceptor.accept(stream).await.unwrap(), "200 OK").await
        });
        let action = action(json!({"port": 1, "scheme": "HTTPS"}));
        assert_eq!(probe(&action, "127.0.0.1", port).await, Ok(()));
        assert!(served.await.unwrap().starts_with("GET / HTTP/1.1"));
    }
}
