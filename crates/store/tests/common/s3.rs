//! A real S3 server (`tests/s3_server.py` with the Python of `TAPEWATCH_PYTHON`) and, before it, a proxy
//! that spoils requests: throttles, fails, cuts uploads, loses answers, is slow.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tapewatch_store::{HistoryOptions, StoreOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The server and the proxy before it.
pub(crate) struct S3 {
    server: Child,
    pub(crate) port: u16,
    pub(crate) faults: Arc<Faults>,
}

/// How requests are spoiled.
#[derive(Default)]
pub(crate) struct Faults {
    /// Of a hundred requests so many are.
    pub(crate) percent: AtomicU64,
    /// Only this kind, if it is not 0.
    pub(crate) only: AtomicU64,
    pub(crate) spoiled: AtomicU64,
    state: AtomicU64,
}

pub(crate) const SLOW_DOWN: u64 = 1;
const INTERNAL: u64 = 2;
const CUT_UPLOAD: u64 = 3;
pub(crate) const LOST_ANSWER: u64 = 4;
const LATE: u64 = 5;

impl Faults {
    pub(crate) fn set(&self, seed: u64, percent: u64, only: u64) {
        self.state.store(seed, Ordering::SeqCst);
        self.only.store(only, Ordering::SeqCst);
        self.percent.store(percent, Ordering::SeqCst);
    }

    /// The next number of the seed's: splitmix64.
    fn next(&self) -> u64 {
        let mut z = self
            .state
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// What happens to a request; 0: nothing.
    fn fault(&self) -> u64 {
        let number = self.next();
        if number % 100 >= self.percent.load(Ordering::SeqCst) {
            return 0;
        }
        self.spoiled.fetch_add(1, Ordering::SeqCst);
        match self.only.load(Ordering::SeqCst) {
            0 => number / 100 % 5 + 1,
            only => only,
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl S3 {
    pub(crate) async fn start() -> Self {
        let python = std::env::var("TAPEWATCH_PYTHON").unwrap_or_else(|_| {
            panic!("TAPEWATCH_PYTHON is not set: `cargo xtask test` makes a Python with moto")
        });
        let mut server = Command::new(python)
            .arg("../../tests/s3_server.py")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let behind: u16 = line.trim().parse().unwrap();
        let faults = Arc::new(Faults::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&faults);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // A client that goes away is none of the proxy's business.
                tokio::spawn(serve(client, behind, Arc::clone(&shared)));
            }
        });
        Self {
            server,
            port,
            faults,
        }
    }

    /// Options of a store whose history is in the bucket; secrets come from a file in `dir`.
    pub(crate) fn options(&self, dir: &Path, prefix: &str) -> StoreOptions {
        let secret = dir.join("secret");
        std::fs::write(&secret, "tester\n").unwrap();
        let secret = format!("file:{}", secret.display());
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let options = [
            ("endpoint", endpoint.as_str()),
            ("allow_http", "true"),
            ("region", "us-east-1"),
            ("access_key_id", &secret),
            ("secret_access_key", &secret),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        StoreOptions {
            history: HistoryOptions {
                url: format!("s3://history/{prefix}"),
                options: options.into(),
                ..HistoryOptions::default()
            },
            ..StoreOptions::default()
        }
    }
}

/// One request and its answer.
async fn serve(mut client: TcpStream, behind: u16, faults: Arc<Faults>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        if let Some(at) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    let fault = faults.fault();
    if fault == CUT_UPLOAD && length > 0 {
        // Half of it arrives, then the line is dead; the server never has it.
        while request.len() < head + length / 2 && client.read_buf(&mut request).await? > 0 {}
        return Ok(());
    }
    while request.len() < head + length && client.read_buf(&mut request).await? > 0 {}
    let refused = match fault {
        SLOW_DOWN => Some(("503 Slow Down", "SlowDown")),
        INTERNAL => Some(("500 Internal Server Error", "InternalError")),
        _ => None,
    };
    if let Some((status, code)) = refused {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let answer = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        return client.write_all(answer.as_bytes()).await;
    }
    if fault == LATE {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut server = TcpStream::connect(("127.0.0.1", behind)).await?;
    server.write_all(&request).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if fault == LOST_ANSWER {
        return Ok(());
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}
