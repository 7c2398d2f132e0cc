//! What the caller chooses: sizes and the fsync policy.
//! Invariant: a policy's `Display` is read back by its `FromStr`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::OpenError;
use crate::format::FRAME_BYTES_LIMIT;
use crate::storage::{Disk, Storage};

/// Bytes that may be appended before a [`commit`](crate::Journal::commit) must follow: 256 MiB. (A
/// single frame may be larger if the options allow it.)
pub const GROUP_BYTES_MAX: usize = 256 << 20;

/// How a journal is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// A new segment is begun when the active one would grow over this many bytes. A segment holds
    /// whole groups, so one group that is larger than this makes one larger segment. 256 MiB.
    pub segment_bytes_max: u64,
    /// The largest payload that [`append`](crate::Journal::append) accepts, in bytes. It does not
    /// bind readers: lowering it never makes an older frame unreadable. 64 MiB, at most
    /// [`FRAME_BYTES_LIMIT`].
    pub frame_bytes_max: u32,
    /// When written frames are forced to stable storage.
    pub fsync: FsyncPolicy,
    /// Bytes of the last groups that stay in memory for readers that keep up, once there is one.
    /// 32 MiB.
    pub tail_bytes_max: usize,
    /// Where the files are: [`Disk`] anywhere but in tests.
    pub storage: Arc<dyn Storage>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes_max: 256 << 20,
            frame_bytes_max: 64 << 20,
            fsync: FsyncPolicy::default(),
            tail_bytes_max: 32 << 20,
            storage: Arc::new(Disk),
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let problem = if self.frame_bytes_max > FRAME_BYTES_LIMIT {
            format!(
                "frame_bytes_max is {}: choose at most {FRAME_BYTES_LIMIT}",
                self.frame_bytes_max
            )
        } else if self.fsync == FsyncPolicy::Interval(Duration::ZERO) {
            "fsync is interval:0ms: choose a longer interval, or the policy always".to_owned()
        } else {
            return Ok(());
        };
        Err(OpenError::Options { problem })
    }
}

/// When committed frames are forced to stable storage, and so what an acknowledged frame survives.
///
/// | policy | `commit` returns after | kill -9 of the process | power loss, kernel crash |
/// |---|---|---|---|
/// | `always` | write and fdatasync | nothing lost | nothing lost |
/// | `interval:10ms` | write; a background thread syncs at most 10 ms later | nothing lost | the last interval may be lost |
/// | `os` | write; nothing is ever synced | nothing lost | what the system had not yet written may be lost |
///
/// Under `os` a power loss may also hurt a segment before the last one, which stops the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// Every commit waits for fdatasync: survives power loss.
    Always,
    /// A background thread starts an fdatasync at most this long after a commit: survives kill -9;
    /// a power loss may lose the last interval. The default, with 10 ms.
    Interval(Duration),
    /// No sync: survives kill -9; a power loss may lose what the system had not written.
    Os,
}

impl Default for FsyncPolicy {
    fn default() -> Self {
        Self::Interval(Duration::from_millis(10))
    }
}

impl fmt::Display for FsyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Os => f.write_str("os"),
            Self::Interval(every) => {
                let nanos = every.as_nanos();
                match nanos {
                    _ if nanos % 1_000_000 == 0 => write!(f, "interval:{}ms", nanos / 1_000_000),
                    _ if nanos % 1_000 == 0 => write!(f, "interval:{}us", nanos / 1_000),
                    _ => write!(f, "interval:{nanos}ns"),
                }
            }
        }
    }
}

/// The text is no fsync policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no fsync policy: write always, interval, interval:10ms (ns, us, ms or s, more than 0) or os"
)]
pub struct FsyncPolicyError {
    /// What was given.
    pub text: String,
}

impl FromStr for FsyncPolicy {
    type Err = FsyncPolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "always" => Ok(Self::Always),
            "os" => Ok(Self::Os),
            "interval" => Ok(Self::default()),
            _ => (text.strip_prefix("interval:").and_then(parse_duration))
                .map(Self::Interval)
                .ok_or_else(|| FsyncPolicyError {
                    text: text.to_owned(),
                }),
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let scale: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    let nanos = number.parse::<u64>().ok()?.checked_mul(scale)?;
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn policies_are_read_and_written_in_the_same_words() {
        for text in [
            "always",
            "os",
            "interval:10ms",
            "interval:250us",
            "interval:7ns",
        ] {
            assert_eq!(text.parse::<FsyncPolicy>().unwrap().to_string(), text);
        }
        assert_eq!("interval".parse(), Ok(FsyncPolicy::default()));
        assert_eq!(
            "interval:2s".parse(),
            Ok(FsyncPolicy::Interval(Duration::from_secs(2)))
        );
    }

    #[test]
    fn what_is_no_policy_is_refused_with_the_words_that_are() {
        for text in [
            "",
            "Always",
            "interval:",
            "interval:0ms",
            "interval:5",
            "interval:-1ms",
            "interval:1h",
        ] {
            let error = text.parse::<FsyncPolicy>().unwrap_err();
            assert!(error.to_string().contains("interval:10ms"), "{error}");
        }
        assert!(
            "interval:99999999999999999999s"
                .parse::<FsyncPolicy>()
                .is_err()
        );
    }
}
