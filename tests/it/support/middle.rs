//! `Middle`: stands between a client and a store, and answers in its place when a test says so.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request on its way to the store.
#[derive(Debug)]
pub(crate) struct Passing {
    /// As S3 names it.
    pub(crate) operation: &'static str,
    /// The path, encoded: bucket and key.
    pub(crate) path: String,
    bytes: Vec<u8>,
}

impl Passing {
    /// Returns the access key that the request is signed with.
    pub(crate) fn signer(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let (_, rest) = text.split_once("Credential=")?;
        Some(rest.split('/').next()?.to_owned())
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Meeting {
    /// It reaches the store, and its answer the client.
    Pass,
    /// It does not reach the store; this is the answer.
    Instead(Vec<u8>),
    /// It reaches the store; this is the answer all the same.
    Behind(Vec<u8>),
    /// The text of its answer is changed by this.
    Changed(fn(String) -> String),
    /// As before, and its head by the first.
    Rewritten(fn(String) -> String, fn(String) -> String),
}

/// Decides about each request.
pub(crate) type Decide = Box<dyn Fn(&Passing) -> Meeting + Send + Sync>;

/// Stands before the store at `store` and returns the address at which. It ends with the process of the test.
pub(crate) fn between(store: &str, decide: Decide) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let store: Arc<str> = store.trim_start_matches("http://").into();
    let decide = Arc::new(decide);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (store, decide) = (Arc::clone(&store), Arc::clone(&decide));
            // Whoever breaks off does not want the answer.
            std::thread::spawn(move || drop(serve(&stream, &store, decide.as_ref())));
        }
    });
    endpoint
}

fn serve(mut client: &TcpStream, store: &str, decide: &Decide) -> std::io::Result<()> {
    let Some(passing) = read(client)? else { return Ok(()) };
    match decide(&passing) {
        Meeting::Pass => client.write_all(&forward(store, &passing)?),
        Meeting::Instead(answer) => client.write_all(&answer),
        Meeting::Behind(answer) => {
            forward(store, &passing)?;
            client.write_all(&answer)
        }
        Meeting::Changed(change) => {
            let (head, body) = text(store, &passing)?;
            let body = change(body);
            let lines = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("content-length"));
            let head = lines.collect::<Vec<_>>().join("\r\n");
            write!(client, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        // Of as many bytes: the head of an answer without a body tells how many there would be.
        Meeting::Rewritten(change_head, change_body) => {
            let (head, body) = text(store, &passing)?;
            write!(client, "{}\r\n\r\n{}", change_head(head), change_body(body))
        }
    }
}

/// Returns the head and the body of an answer.
fn text(store: &str, passing: &Passing) -> std::io::Result<(String, String)> {
    let answer = String::from_utf8(forward(store, passing)?).unwrap();
    Ok(answer.split_once("\r\n\r\n").map(both).unwrap())
}

fn both((first, second): (&str, &str)) -> (String, String) {
    (first.into(), second.into())
}

/// Takes one request in, and asks for the end of the connection behind its answer.
fn read(stream: &TcpStream) -> std::io::Result<Option<Passing>> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    let mut copies = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        copies |= lower.starts_with("x-amz-copy-source:");
        head += &line;
    }
    let mut bytes = format!("{head}connection: close\r\n\r\n").into_bytes();
    reader.take(length).read_to_end(&mut bytes)?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let operation = operation(method, query, copies);
    Ok(Some(Passing { operation, path: path.to_owned(), bytes }))
}

fn operation(method: &str, query: &str, copies: bool) -> &'static str {
    let names: BTreeSet<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
    let has = |name: &str| names.contains(name);
    match method {
        "GET" if has("list-type") => "ListObjectsV2",
        "GET" if has("versioning") => "GetBucketVersioning",
        "GET" if has("uploads") => "ListMultipartUploads",
        "GET" if has("uploadId") => "ListParts",
        "GET" => "GetObject",
        "HEAD" => "HeadObject",
        "PUT" if has("partNumber") => "UploadPart",
        "PUT" if copies => "CopyObject",
        "PUT" => "PutObject",
        "DELETE" if has("uploadId") => "AbortMultipartUpload",
        "DELETE" => "DeleteObject",
        "POST" if has("delete") => "DeleteObjects",
        "POST" if has("uploads") => "CreateMultipartUpload",
        "POST" => "CompleteMultipartUpload",
        _ => panic!("{method} {query}"),
    }
}

fn forward(store: &str, passing: &Passing) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(store)?;
    stream.write_all(&passing.bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
