//! The GET of probes and hooks: every status from 200 to 399 is a success, certificates are not asked.

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

/// Asks as a probe or a hook says.
pub(super) async fn get(action: &HTTPGetAction, host: &str, port: u16) -> Result<(), String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|e| e.to_string())?;
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut own = action.http_headers.iter().flatten();
    let has_host = own.clone().any(|header| header.name.eq_ignore_ascii_case("host"));
    let host_line = if has_host { String::new() } else { format!("Host: {host}:{port}\r\n") };
    let extra: String = own.by_ref().map(|h| format!("{}: {}\r\n", h.name, h.value)).collect();
    let request = format!(
        "GET {path} HTTP/1.1\r\n{host_line}User-Agent: kube-probe/1.36\r\nAccept: */*\r\n{extra}Connection: close\r\n\r\n"
    );
    let code = if action.scheme.as_deref() == Some("HTTPS") {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let connector = TlsConnector::from(trusting()?);
        let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
        ask(stream, &request).await?
    } else {
        ask(stream, &request).await?
    };
    if (200..400).contains(&code) {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {code}"))
    }
}

/// Sends the request and reads the status code.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<u16, String> {
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut head = Vec::new();
    let mut reader = stream.take(PROBE_BODY_BYTES_MAX as u64);
    while !head.contains(&b'\n') {
        let mut part = [0; 512];
        match reader.read(&mut part).await.map_err(|e| e.to_string())? {
            0 => break,
            n => head.extend_from_slice(&part[..n]),
        }
    }
    let line = String::from_utf8_lossy(&head);
    Ok(line.split(' ').nth(1).and_then(|c| c.get(..3)?.parse().ok()).unwrap_or(0))
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

fn trusting() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
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
        assert_eq!(get(&action(own), "127.0.0.1", port).await, Ok(()));
        let error = get(&action(json!({"port": 1})), "127.0.0.1", port).await.unwrap_err();
        assert_eq!(error, "HTTP probe failed with statuscode: 500");
        let asked = served.await.unwrap();
        assert!(asked[0].starts_with("GET /live HTTP/1.1\r\n"), "{}", asked[0]);
        assert!(asked[0].contains("host: me\r\n") && !asked[0].contains("Host: "));
        assert!(asked[1].contains(&format!("Host: 127.0.0.1:{port}\r\n")), "{}", asked[1]);
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
        assert_eq!(get(&action, "127.0.0.1", port).await, Ok(()));
        assert!(served.await.unwrap().starts_with("GET / HTTP/1.1"));
    }
}
