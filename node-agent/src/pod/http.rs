//! The GET of probes and hooks; nobody's certificate is asked for.

use std::sync::Arc;

use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::limits::PROBE_BODY_BYTES_MAX;

/// Asks as a probe says.
pub(super) async fn probe(action: &HTTPGetAction, host: &str, port: u16) -> Result<(), String> {
    let code = ask(action, (host, port), "probe", is_https(action)).await?;
    if (200..400).contains(&code) {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {code}"))
    }
}

/// Asks as a hook says: it is heard when anything answers, whatever the answer is. Behind a hook
/// that says HTTPS there may be plain HTTP, as old definitions have it.
pub(super) async fn hook(action: &HTTPGetAction, host: &str, port: u16) -> Result<(), String> {
    match ask(action, (host, port), "lifecycle", is_https(action)).await {
        Err(Failure::NotTls) => ask(action, (host, port), "lifecycle", false).await?,
        answered => answered?,
    };
    Ok(())
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

fn is_https(action: &HTTPGetAction) -> bool {
    action.scheme.as_deref() == Some("HTTPS")
}

/// The request, with the definition's own headers before ours.
fn request(action: &HTTPGetAction, (host, port): (&str, u16), purpose: &str) -> String {
    let path = action.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("GET {slash}{path} HTTP/1.1\r\n");
    let own: Vec<_> = action.http_headers.iter().flatten().collect();
    for (name, value) in [
        ("Host", format!("{host}:{port}")),
        ("User-Agent", format!("kube-{purpose}/1.36")),
        ("Accept", "*/*".to_owned()),
    ] {
        if !own.iter().any(|header| header.name.eq_ignore_ascii_case(name)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    // An empty Accept is the way to send none.
    let said =
        own.iter().filter(|h| !(h.name.eq_ignore_ascii_case("accept") && h.value.is_empty()));
    said.for_each(|header| head.push_str(&format!("{}: {}\r\n", header.name, header.value)));
    head + "Connection: close\r\n\r\n"
}

/// Sends the request and reads the status code.
async fn ask(
    action: &HTTPGetAction,
    to: (&str, u16),
    purpose: &str,
    is_https: bool,
) -> Result<u16, Failure> {
    let stream = TcpStream::connect(to).await.map_err(other)?;
    let request = request(action, to, purpose);
    if !is_https {
        return exchange(stream, &request).await;
    }
    let name = ServerName::try_from(to.0.to_owned()).map_err(other)?;
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
) -> Result<u16, Failure> {
    stream.write_all(request.as_bytes()).await.map_err(other)?;
    let mut head = Vec::new();
    let mut reader = stream.take(PROBE_BODY_BYTES_MAX as u64);
    while !head.contains(&b'\n') {
        let mut part = [0; 512];
        match reader.read(&mut part).await.map_err(other)? {
            0 => break,
            n => head.extend_from_slice(&part[..n]),
        }
    }
    let line = String::from_utf8_lossy(&head);
    let code = line.strip_prefix("HTTP/").and_then(|l| l.split(' ').nth(1)?.get(..3)?.parse().ok());
    code.ok_or_else(|| Failure::Other(format!("malformed HTTP response {:?}", line.trim_end())))
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
