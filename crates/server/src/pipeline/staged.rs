//! The frames of a group before its commit, and who waits for them.
//!
//! Invariant: whoever waits is answered once.

use tapewatch_detect::DetectConfig;
use tapewatch_journal::CommitError;
use tapewatch_model::Origin;

use super::{PublishError, Published, Reply, Rows};
use crate::fold::FrameMark;

/// One frame of a group, appended and not yet committed.
pub(super) enum Staged {
    /// Whoever sent it; those who sent it again meanwhile come behind.
    Bucket(FrameMark, Rows, Vec<Reply<Published>>),
    Clear(FrameMark, Reply<u64>),
    Config(FrameMark, Box<DetectConfig>, Reply<u64>),
}

/// Who waits for the same bucket, if it is in the group: a producer's numbers ascend there.
pub(super) fn waiting<'g>(
    origin: &Origin,
    group: &'g mut [Staged],
) -> Option<&'g mut Vec<Reply<Published>>> {
    let same = group.iter_mut().rev().filter_map(|staged| match staged {
        Staged::Bucket(_, rows, replies) if rows.origin().producer == origin.producer => {
            Some((rows.origin().batch, replies))
        }
        _ => None,
    });
    let named = !origin.producer.is_empty();
    let mut same = same.take_while(|(batch, _)| named && *batch >= origin.batch);
    same.find(|(batch, _)| *batch == origin.batch)
        .map(|(_, replies)| replies)
}

impl Staged {
    pub(super) fn mark(&self) -> FrameMark {
        match self {
            Self::Bucket(mark, ..) | Self::Clear(mark, _) | Self::Config(mark, ..) => *mark,
        }
    }
}

/// Tells all of a group that it was not committed.
pub(super) fn refuse(group: Vec<Staged>, error: &CommitError) {
    let refused = match error {
        error if error.is_disk_full() => PublishError::DiskFull(error.to_string()),
        CommitError::Refused { .. } => PublishError::Refused(error.to_string()),
        // What is on the disk only the next start can know.
        CommitError::Stopped(_) => PublishError::Unknown(error.to_string()),
    };
    // Who asked may be gone.
    for staged in group {
        match staged {
            Staged::Bucket(_, _, replies) => replies
                .into_iter()
                .for_each(|reply| drop(reply.send(Err(refused.clone())))),
            Staged::Clear(_, reply) | Staged::Config(_, _, reply) => {
                drop(reply.send(Err(refused.clone())));
            }
        }
    }
}
