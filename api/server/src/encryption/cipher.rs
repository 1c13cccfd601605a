//! One key of a provider: seals and opens bytes as upstream's transformers lay them out.
//!
//! | Rule | What always holds |
//! |------|-------------------|
//! | E1 | A nonce is drawn anew from the system for every value that is sealed. |
//! | E2 | `aesgcm` binds a value to its key in the store; a value that was moved is not opened. |
//! | E3 | Bytes of any length and content are opened or refused, never a panic. |

use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockCipher, BlockDecrypt, BlockDecryptMut, BlockEncrypt, BlockEncryptMut};
use aes::cipher::{InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInPlace, Nonce, Tag};
use crypto_secretbox::XSalsa20Poly1305;
use rand::TryRngCore;
use rand::rngs::OsRng;

const GCM_NONCE: usize = 12;
const SECRETBOX_NONCE: usize = 24;
const TAG: usize = 16;
const BLOCK: usize = 16;

const TOO_SHORT: &str = "the stored data was shorter than the required size";
const NOT_AUTHENTIC: &str = "cipher: message authentication failed";

/// A cipher with its key.
pub(super) enum Cipher {
    Gcm128(Box<AesGcm<Aes128, U12>>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<AesGcm<Aes256, U12>>),
    Cbc128(Box<Aes128>),
    Cbc192(Box<Aes192>),
    Cbc256(Box<Aes256>),
    Secretbox(Box<XSalsa20Poly1305>),
}

/// What a provider does with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    AesGcm,
    AesCbc,
    Secretbox,
}

impl Mode {
    /// What every value begins with that a provider of this mode wrote.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::AesGcm => "k8s:enc:aesgcm:v1:",
            Self::AesCbc => "k8s:enc:aescbc:v1:",
            Self::Secretbox => "k8s:enc:secretbox:v1:",
        }
    }

    /// Lengths that a key may have.
    pub(super) fn key_lengths(self) -> &'static [usize] {
        match self {
            Self::AesGcm | Self::AesCbc => &[16, 24, 32],
            Self::Secretbox => &[32],
        }
    }
}

impl Cipher {
    /// `None` for a key of a length that there is not.
    pub(super) fn new(mode: Mode, secret: &[u8]) -> Option<Self> {
        Some(match (mode, secret.len()) {
            (Mode::AesGcm, 16) => Self::Gcm128(keyed(secret)?),
            (Mode::AesGcm, 24) => Self::Gcm192(keyed(secret)?),
            (Mode::AesGcm, 32) => Self::Gcm256(keyed(secret)?),
            (Mode::AesCbc, 16) => Self::Cbc128(keyed(secret)?),
            (Mode::AesCbc, 24) => Self::Cbc192(keyed(secret)?),
            (Mode::AesCbc, 32) => Self::Cbc256(keyed(secret)?),
            (Mode::Secretbox, 32) => Self::Secretbox(keyed(secret)?),
            (Mode::AesGcm | Mode::AesCbc | Mode::Secretbox, _) => return None,
        })
    }

    /// What is stored of `data` at `key`, after the prefixes.
    pub(super) fn seal(&self, data: &[u8], key: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Gcm128(cipher) => seal_gcm(&**cipher, data, key),
            Self::Gcm192(cipher) => seal_gcm(&**cipher, data, key),
            Self::Gcm256(cipher) => seal_gcm(&**cipher, data, key),
            Self::Cbc128(cipher) => seal_cbc(&**cipher, data),
            Self::Cbc192(cipher) => seal_cbc(&**cipher, data),
            Self::Cbc256(cipher) => seal_cbc(&**cipher, data),
            Self::Secretbox(cipher) => seal_secretbox(cipher, data),
        }
    }

    /// The data of what is stored at `key`, after the prefixes; upstream's error otherwise.
    pub(super) fn open(&self, stored: &[u8], key: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Gcm128(cipher) => open_gcm(&**cipher, stored, key),
            Self::Gcm192(cipher) => open_gcm(&**cipher, stored, key),
            Self::Gcm256(cipher) => open_gcm(&**cipher, stored, key),
            Self::Cbc128(cipher) => open_cbc(&**cipher, stored),
            Self::Cbc192(cipher) => open_cbc(&**cipher, stored),
            Self::Cbc256(cipher) => open_cbc(&**cipher, stored),
            Self::Secretbox(cipher) => open_secretbox(cipher, stored),
        }
    }
}

fn keyed<C: KeyInit>(secret: &[u8]) -> Option<Box<C>> {
    C::new_from_slice(secret).ok().map(Box::new)
}

/// Room for a value, with a fresh nonce at its start (E1).
fn begun(nonce: usize, size: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(size);
    out.resize(nonce, 0);
    OsRng.try_fill_bytes(&mut out).map_err(|_| "unable to read sufficient random bytes")?;
    Ok(out)
}

/// Nonce, data, tag.
fn seal_gcm<C: AeadInPlace>(cipher: &C, data: &[u8], key: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = begun(GCM_NONCE, GCM_NONCE + data.len() + TAG)?;
    out.extend_from_slice(data);
    let (nonce, text) = out.split_at_mut(GCM_NONCE);
    let nonce = Nonce::<C>::from_slice(nonce);
    let tag = cipher.encrypt_in_place_detached(nonce, key, text);
    let tag = tag.map_err(|error| error.to_string())?;
    out.extend_from_slice(&tag);
    Ok(out)
}

fn open_gcm<C: AeadInPlace>(
    cipher: &C,
    stored: &[u8],
    key: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let (nonce, rest) = stored.split_at_checked(GCM_NONCE).ok_or(TOO_SHORT)?;
    let end = rest.len().checked_sub(TAG).ok_or(NOT_AUTHENTIC)?;
    let (text, tag) = rest.split_at(end);
    let mut text = text.to_vec();
    let (nonce, tag) = (Nonce::<C>::from_slice(nonce), Tag::<C>::from_slice(tag));
    let opened = cipher.decrypt_in_place_detached(nonce, key, &mut text, tag);
    opened.map_err(|_| NOT_AUTHENTIC)?;
    Ok(text)
}

/// Initial vector, data padded to whole blocks as PKCS #7 says.
fn seal_cbc<C>(cipher: &C, data: &[u8]) -> Result<Vec<u8>, String>
where
    C: BlockCipher + BlockEncrypt + BlockEncryptMut + Clone,
{
    let padded = (data.len() / BLOCK + 1) * BLOCK;
    let mut out = begun(BLOCK, BLOCK + padded)?;
    out.extend_from_slice(data);
    out.resize(BLOCK + padded, 0);
    let (vector, text) = out.split_at_mut(BLOCK);
    let encryptor = cbc::Encryptor::inner_iv_slice_init(cipher.clone(), vector);
    let encryptor = encryptor.map_err(|error| error.to_string())?;
    let sealed = encryptor.encrypt_padded_mut::<Pkcs7>(text, data.len());
    sealed.map_err(|error| error.to_string())?;
    Ok(out)
}

fn open_cbc<C>(cipher: &C, stored: &[u8]) -> Result<Vec<u8>, &'static str>
where
    C: BlockCipher + BlockDecrypt + BlockDecryptMut + Clone,
{
    const BLOCKS: &str = "the stored data is not a multiple of the block size";
    let (vector, text) = stored.split_at_checked(BLOCK).ok_or(TOO_SHORT)?;
    if text.len() % BLOCK != 0 {
        return Err(BLOCKS);
    }
    let mut text = text.to_vec();
    let decryptor = cbc::Decryptor::inner_iv_slice_init(cipher.clone(), vector);
    let decryptor = decryptor.map_err(|_| TOO_SHORT)?;
    decryptor.decrypt_padded_mut::<NoPadding>(&mut text).map_err(|_| BLOCKS)?;
    let size = without_padding(&text)?;
    text.truncate(size);
    Ok(text)
}

/// The size of what was padded; the padding is the number of its bytes, in each of them.
fn without_padding(text: &[u8]) -> Result<usize, &'static str> {
    const NOT_PADDED: &str = "invalid PKCS7 data (empty or not padded)";
    let last = *text.last().ok_or(NOT_PADDED)?;
    let size = text.len().checked_sub(usize::from(last)).ok_or(NOT_PADDED)?;
    if last == 0 {
        return Err(NOT_PADDED);
    }
    match text[size..].iter().all(|byte| *byte == last) {
        true => Ok(size),
        false => Err("invalid padding on input"),
    }
}

/// Nonce, tag, data.
fn seal_secretbox(cipher: &XSalsa20Poly1305, data: &[u8]) -> Result<Vec<u8>, String> {
    const START: usize = SECRETBOX_NONCE + TAG;
    let mut out = begun(SECRETBOX_NONCE, START + data.len())?;
    out.resize(START, 0);
    out.extend_from_slice(data);
    let (head, text) = out.split_at_mut(START);
    let nonce = Nonce::<XSalsa20Poly1305>::from_slice(&head[..SECRETBOX_NONCE]);
    let tag = cipher.encrypt_in_place_detached(nonce, b"", text);
    let tag = tag.map_err(|error| error.to_string())?;
    head[SECRETBOX_NONCE..].copy_from_slice(&tag);
    Ok(out)
}

fn open_secretbox(cipher: &XSalsa20Poly1305, stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    // Upstream's words for a value that is not authentic.
    const REFUSED: &str = "output array was not large enough for encryption";
    let (head, text) = stored.split_at_checked(SECRETBOX_NONCE + TAG).ok_or(TOO_SHORT)?;
    let (nonce, tag) = head.split_at(SECRETBOX_NONCE);
    let mut text = text.to_vec();
    let nonce = Nonce::<XSalsa20Poly1305>::from_slice(nonce);
    let tag = Tag::<XSalsa20Poly1305>::from_slice(tag);
    cipher.decrypt_in_place_detached(nonce, b"", &mut text, tag).map_err(|_| REFUSED)?;
    Ok(text)
}
