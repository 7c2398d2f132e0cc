//! A running `tapewatch up`: its address, its pages and its clean end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};
use crate::process;

/// How long a server may take from its address to readiness.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to drain and stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What precedes the address on standard output.
const LISTENING: [&str; 2] = ["listening on http://", "listening on https://"];

/// A server process; killed when dropped without [`Server::stop`].
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Host and port.
    address: String,
}

impl Server {
    /// Starts a server and waits until it says where it listens and is ready; `limit` is for the first of the two.
    pub(crate) fn start(command: &mut Command, limit: Duration) -> Outcome<Self> {
        println!("$ {} &", process::shown(command));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| process::cannot_start(command, &error))?;
        let (sender, receiver) = mpsc::channel();
        let mut server = Self {
            address: String::new(),
            child,
        };
        child_stdout(&mut server.child, sender)?;
        server.address = receiver.recv_timeout(limit).map_err(|_| {
            Failure::new(format!(
                "`{}` ended, or printed no line `{}HOST:PORT` within {} s",
                process::shown(command),
                LISTENING[0],
                limit.as_secs()
            ))
        })?;
        server.wait_ready()?;
        Ok(server)
    }

    /// The address as a browser takes it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// One GET: the status code and the body.
    pub(crate) fn get(&self, path: &str) -> Outcome<(u16, String)> {
        get(&self.address, path)
            .map_err(|error| Failure::new(format!("GET {}{path}: {error}", self.url())))
    }

    /// Asks the server to stop, and expects exit code 0 in time.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        process::terminate(&self.child)?;
        let status = process::wait(&mut self.child, STOP_LIMIT)
            .map_err(|failure| Failure::new(format!("the server was asked to stop: {failure}")))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the server was asked to stop and ended with {}, not with exit code 0",
            process::ending(status)
        )))
    }

    fn wait_ready(&mut self) -> Outcome<()> {
        let started = Instant::now();
        loop {
            let last = get(&self.address, "/readyz");
            // A port of TLS says no more than that to a plain question; it listens when it is ready.
            let tls = matches!(&last, Ok((400, text)) if text.contains("speaks TLS"));
            if tls || matches!(last, Ok((200, _))) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let how = process::ending(status);
                return Err(Failure::new(format!(
                    "the server ended with {how} before it was ready"
                )));
            }
            if started.elapsed() > READY_LIMIT {
                return Err(Failure::new(format!(
                    "{}/readyz did not answer 200 within {} s; the last answer: {last:?}",
                    self.url(),
                    READY_LIMIT.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes the server's output through and sends the first address that is in it.
fn child_stdout(child: &mut Child, sender: mpsc::Sender<String>) -> Outcome<()> {
    let stdout: ChildStdout = child
        .stdout
        .take()
        .ok_or_else(|| Failure::new("the server has no standard output"))?;
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{line}");
            if let Some(address) = address_in(&line) {
                let _ = sender.send(address);
            }
        }
    });
    Ok(())
}

/// The `HOST:PORT` of a line that says where the server listens.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = LISTENING
        .into_iter()
        .find_map(|before| line.split_once(before))?;
    let end = rest
        .find(|character: char| !(character.is_ascii_alphanumeric() || ".:-[]".contains(character)))
        .unwrap_or(rest.len());
    rest.get(..end)
        .map(|address| address.trim_end_matches('.').to_owned())
}

fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    match (status, body) {
        (Some(status), Some(body)) => Ok((status, body)),
        _ => Err(std::io::Error::other("the answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_ends_where_the_port_ends() {
        let address = Some("127.0.0.1:8080".to_owned());
        assert_eq!(address_in("listening on http://127.0.0.1:8080"), address);
        assert_eq!(
            address_in("tapewatch: listening on http://127.0.0.1:8080/ (all roles)"),
            address
        );
        assert_eq!(address_in("listening on http://127.0.0.1:8080."), address);
        assert_eq!(address_in("listening on https://127.0.0.1:8080"), address);
        assert_eq!(
            address_in("listening on http://[::1]:80 "),
            Some("[::1]:80".to_owned())
        );
        assert_eq!(address_in("recovered 10 events"), None);
    }
}
