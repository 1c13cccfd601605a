//! What stands between quotes, with its escapes carried out.

/// The bytes of a string or bytes literal, `b` prefix removed.
pub(super) fn unescape(literal: &[char], is_bytes: bool) -> Result<Vec<u8>, &'static str> {
    let raw = matches!(literal.first(), Some('r' | 'R'));
    let quoted = if raw { &literal[1..] } else { literal };
    let triple = quoted.len() >= 6 && quoted[1] == quoted[0] && quoted[2] == quoted[0];
    let width = if triple { 3 } else { 1 };
    let body = &quoted[width..quoted.len() - width];
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while at < body.len() {
        let here = body[at];
        if here == '\r' {
            // Line ends are one character whatever wrote them.
            out.push(b'\n');
            at += if body.get(at + 1) == Some(&'\n') { 2 } else { 1 };
        } else if here != '\\' || raw {
            push(&mut out, here);
            at += 1;
        } else {
            at += one(&body[at + 1..], is_bytes, &mut out)? + 1;
        }
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Carries out one escape; how many characters it has after the backslash.
fn one(rest: &[char], is_bytes: bool, out: &mut Vec<u8>) -> Result<usize, &'static str> {
    let broken = "unable to unescape string";
    let kind = *rest.first().ok_or("unable to unescape string, found '\\' as last character")?;
    let number = |from: usize, count: usize, radix: u32| {
        let digits: String = rest.iter().skip(from).take(count).collect();
        u32::from_str_radix(&digits, radix).map_err(|_| broken)
    };
    let mut code = |value: u32, used: usize| {
        if is_bytes {
            out.push(u8::try_from(value).map_err(|_| broken)?);
        } else {
            push(out, char::from_u32(value).ok_or("invalid unicode code point")?);
        }
        Ok(used)
    };
    match kind {
        'a' => code(7, 1),
        'b' => code(8, 1),
        'f' => code(12, 1),
        'n' => code(10, 1),
        'r' => code(13, 1),
        't' => code(9, 1),
        'v' => code(11, 1),
        '\\' | '\'' | '"' | '`' | '?' => code(u32::from(kind), 1),
        '0'..='3' => code(number(0, 3, 8)?, 3),
        'x' | 'X' => code(number(1, 2, 16)?, 3),
        'u' if !is_bytes => code(number(1, 4, 16)?, 5),
        'U' if !is_bytes => code(number(1, 8, 16)?, 9),
        _ => Err(broken),
    }
}
