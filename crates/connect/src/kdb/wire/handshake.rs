//! The greeting: who it is, and what both sides understand.
//!
//! Invariant: no more than [`CREDENTIAL_BYTES_MAX`] bytes are ever waited for; a password is in no
//! debug text.

use std::fmt;

use super::{WireError, Wrong};

/// Most bytes of a greeting, its NUL included.
pub const CREDENTIAL_BYTES_MAX: usize = 1_024;
/// What is understood here: packed messages, timestamps and guids, lengths of 32 bits.
const CAPABILITY: u8 = 3;
/// What a client may say of itself. Bytes above are the last of a password.
const CAPABILITY_MAX: u8 = 6;

/// What a client says first.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its name; may be empty.
    pub user: String,
    /// Its password; may be empty.
    pub password: String,
    /// What it understands; old clients do not say.
    pub capability: Option<u8>,
    /// Bytes that the greeting takes, its NUL included.
    pub bytes: usize,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("capability", &self.capability)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the greeting at the beginning of what came so far; `None` when more must come.
    ///
    /// # Errors
    /// [`WireError`] when it is longer than [`CREDENTIAL_BYTES_MAX`] or not UTF-8: close the
    /// connection.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let head = bytes.get(..CREDENTIAL_BYTES_MAX).unwrap_or(bytes);
        let Some(end) = memchr::memchr(0, head) else {
            if bytes.len() < CREDENTIAL_BYTES_MAX {
                return Ok(None);
            }
            let wrong = Wrong::TooMany {
                what: "the greeting, in bytes,",
                found: bytes.len() as u64 + 1,
                max: CREDENTIAL_BYTES_MAX as u64,
            };
            return Err(WireError::new(CREDENTIAL_BYTES_MAX, wrong));
        };
        let (text, capability) = match head.get(..end).unwrap_or_default() {
            [text @ .., last] if *last <= CAPABILITY_MAX => (text, Some(*last)),
            text => (text, None),
        };
        let text = std::str::from_utf8(text).map_err(|error| {
            let at = error.valid_up_to();
            let found = text.get(at).copied().unwrap_or_default();
            let wanted = "a name and password in UTF-8";
            WireError::new(at, Wrong::Byte { wanted, found })
        })?;
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Ok(Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
            capability,
            bytes: end + 1,
        }))
    }

    /// The one byte that accepts the client. To refuse it, close the connection without a byte.
    #[must_use]
    pub fn accept(&self) -> u8 {
        self.capability.unwrap_or_default().min(CAPABILITY)
    }
}

/// The greeting of a client of ours, to which a server answers one byte.
#[must_use]
pub fn greet(user: &str, password: &str) -> Vec<u8> {
    let mut bytes = format!("{user}:{password}").into_bytes();
    bytes.retain(|byte| *byte != 0);
    bytes.extend_from_slice(&[CAPABILITY, 0]);
    bytes
}
