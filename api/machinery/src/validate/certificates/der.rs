//! The outer shape of DER, and what upstream says when it is wrong.

const SEQUENCE: u32 = 16;

/// The tag and length of one element.
struct Header {
    class: u8,
    is_compound: bool,
    tag: u32,
    length: usize,
    /// How many bytes it takes itself.
    size: usize,
}

/// What an element has to be; the name is that of upstream's type.
#[derive(Clone, Copy)]
struct Wanted {
    tag: u32,
    is_compound: bool,
    name: &'static str,
}

const fn sequence(name: &'static str) -> Wanted {
    Wanted { tag: SEQUENCE, is_compound: true, name }
}

/// A PKCS#10 request: what is to be signed, the algorithm, the signature.
pub(super) fn certificate_request(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes;
    let request = element(bytes, &mut rest, sequence("certificateRequest"))?;
    let mut inner = request;
    let signed = element(request, &mut inner, sequence("tbsCertificateRequest"))?;
    let mut fields = signed;
    element(signed, &mut fields, Wanted { tag: 2, is_compound: false, name: "int" })?;
    // The subject may be anything that is an element.
    let subject = header(fields)?;
    content(&mut fields, &subject)?;
    element(signed, &mut fields, sequence("publicKeyInfo"))?;
    element(request, &mut inner, sequence("AlgorithmIdentifier"))?;
    element(request, &mut inner, Wanted { tag: 3, is_compound: false, name: "BitString" })?;
    if rest.is_empty() { Ok(()) } else { Err(syntax("trailing data")) }
}

/// Whether the bytes are one sequence after the other.
pub(super) fn are_sequences(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        if element(bytes, &mut rest, sequence("")).is_err() {
            return false;
        }
    }
    true
}

fn syntax(why: &str) -> String {
    format!("asn1: syntax error: {why}")
}

fn structure(why: &str) -> String {
    format!("asn1: structure error: {why}")
}

/// The content of the next element; `whole` is what positions are counted in.
fn element<'a>(whole: &[u8], rest: &mut &'a [u8], wanted: Wanted) -> Result<&'a [u8], String> {
    let position = whole.len() - rest.len();
    let found = header(rest)?;
    if found.class != 0 || found.tag != wanted.tag || found.is_compound != wanted.is_compound {
        let Header { class, is_compound, tag, length, size } = found;
        let position = position + size;
        return Err(structure(&format!(
            "tags don't match ({} vs {{class:{class} tag:{tag} length:{length} isCompound:{is_compound}}}) {{optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false}} {} @{position}",
            wanted.tag, wanted.name
        )));
    }
    content(rest, &found)
}

fn content<'a>(rest: &mut &'a [u8], header: &Header) -> Result<&'a [u8], String> {
    let after = &rest[header.size..];
    if header.length > after.len() {
        return Err(syntax("data truncated"));
    }
    let (content, after) = after.split_at(header.length);
    *rest = after;
    Ok(content)
}

fn header(bytes: &[u8]) -> Result<Header, String> {
    let Some((first, mut rest)) = bytes.split_first() else {
        return Err(syntax("sequence truncated"));
    };
    let mut tag = u32::from(first & 0x1f);
    if tag == 0x1f {
        tag = long_tag(&mut rest)?;
    }
    let length = length(&mut rest)?;
    Ok(Header {
        class: first >> 6,
        is_compound: first & 0x20 != 0,
        tag,
        length,
        size: bytes.len() - rest.len(),
    })
}

fn next(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn long_tag(rest: &mut &[u8]) -> Result<u32, String> {
    let mut tag: u32 = 0;
    for index in 0.. {
        let byte = next(rest).ok_or_else(|| syntax("truncated base 128 integer"))?;
        if index == 0 && byte == 0x80 {
            return Err(syntax("integer is not minimally encoded"));
        }
        if index > 3 {
            return Err(structure("base 128 integer too large"));
        }
        tag = tag << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    if tag < 0x1f { Err(syntax("non-minimal tag")) } else { Ok(tag) }
}

fn length(rest: &mut &[u8]) -> Result<usize, String> {
    let truncated = || syntax("truncated tag or length");
    let first = next(rest).ok_or_else(truncated)?;
    if first & 0x80 == 0 {
        return Ok(first.into());
    }
    if first == 0x80 {
        return Err(syntax("indefinite length found (not DER)"));
    }
    let mut length: usize = 0;
    for _ in 0..first & 0x7f {
        let byte = next(rest).ok_or_else(truncated)?;
        if length >= 1 << 23 {
            return Err(structure("length too large"));
        }
        length = length << 8 | usize::from(byte);
        if length == 0 {
            return Err(structure("superfluous leading zeros in length"));
        }
    }
    if length < 0x80 { Err(structure("non-minimal length")) } else { Ok(length) }
}
