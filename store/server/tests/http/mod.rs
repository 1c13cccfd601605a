//! A small HTTP/1.1 client: one request a connection.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// What the server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// An answer whose body is read line by line, as it comes.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    pub(crate) head: Answer,
    chunked: bool,
    chunk: Vec<u8>,
}

/// Sends a request, and reads the head of the answer.
pub(crate) fn open(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Stream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if headers.iter().all(|(name, _)| *name != "Host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let head = Answer { status, headers, body: String::new() };
    let chunked = head.header("transfer-encoding") == Some("chunked");
    Stream { reader, head, chunked, chunk: Vec::new() }
}

impl Stream {
    /// The next line of the body; nothing at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.chunk.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.chunk.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            if !self.more() {
                let rest = std::mem::take(&mut self.chunk);
                return (!rest.is_empty()).then(|| String::from_utf8(rest).unwrap());
            }
        }
    }

    fn more(&mut self) -> bool {
        if !self.chunked {
            return self.reader.read_to_end(&mut self.chunk).unwrap() > 0;
        }
        let mut size = String::new();
        if self.reader.read_line(&mut size).unwrap() == 0 {
            return false;
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        self.chunk.extend_from_slice(&chunk);
        size > 0
    }

    fn whole(mut self) -> Answer {
        while self.more() {}
        self.head.body = String::from_utf8(self.chunk).unwrap();
        self.head
    }
}

/// Sends a request, and reads the whole answer.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    open(address, method, path, headers, body).whole()
}

pub(crate) fn get(address: &str, path: &str) -> Answer {
    send(address, "GET", path, &[], "")
}

pub(crate) fn post(address: &str, path: &str, body: &str) -> Answer {
    send(address, "POST", path, &[], body)
}
