//! Certificates that a member makes for itself: --auto-tls and --peer-auto-tls.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use crate::config::{ListenUrl, TlsFiles};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks of clients may be a little behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// Adds a certificate where one is to be made; it is kept in `folder` and found there again.
///
/// # Errors
/// If it cannot be made or written.
pub(crate) fn complete(
    files: &TlsFiles,
    folder: &Path,
    listen: &[ListenUrl],
) -> io::Result<TlsFiles> {
    let Some(years) = files.self_signed_years else { return Ok(files.clone()) };
    if files.cert.is_some() {
        tracing::warn!("certificates are given, so none is made");
        return Ok(TlsFiles { self_signed_years: None, ..files.clone() });
    }
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !cert.exists() || !key.exists() {
        make((&cert, &key), years, listen)?;
    }
    // As etcd: what is made by itself asks the other side for nothing.
    Ok(TlsFiles {
        cert: Some(cert),
        key: Some(key),
        ca: None,
        require_client_cert: false,
        ..files.clone()
    })
}

fn make((cert, key): (&PathBuf, &PathBuf), years: u32, listen: &[ListenUrl]) -> io::Result<()> {
    let mut hosts: Vec<String> = listen.iter().map(|url| url.address.ip().to_string()).collect();
    if listen.iter().any(|url| url.address.ip().is_loopback()) {
        hosts.push("localhost".to_owned());
    }
    hosts.sort();
    hosts.dedup();
    let mut params = CertificateParams::new(hosts).map_err(io::Error::other)?;
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + YEAR * years).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let pair = KeyPair::generate().map_err(io::Error::other)?;
    let signed = params.self_signed(&pair).map_err(io::Error::other)?;
    if let Some(folder) = cert.parent() {
        fs::create_dir_all(folder)?;
    }
    write(key, &pair.serialize_pem(), 0o600)?;
    write(cert, &signed.pem(), 0o644)?;
    tracing::warn!(cert = %cert.display(), years, "made a certificate that nobody vouches for");
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
