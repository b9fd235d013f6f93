//! Statuses of executions, stages, legs, phases and steps, and how they add up (`behaviour.md` 13.1).

use serde::{Deserialize, Serialize};

/// The inner status. [`Status::public`] is what FirstGen clients see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Not begun.
    #[default]
    Queued,
    /// Being prepared.
    Starting,
    /// Something is being done.
    Running,
    /// Waits; a [`crate::wait::Wait`] says for what.
    Waiting,
    /// A pause was asked for; steps in flight finish first.
    Pausing,
    /// Paused by somebody.
    Paused,
    /// An abort was asked for; running steps are being stopped.
    Aborting,
    /// Ended well.
    Success,
    /// Ended with a failure.
    Failed,
    /// Stopped by somebody or by a strategy; nothing was rolled back.
    Aborted,
    /// An approval or freeze said no.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// Not run, by a skip condition.
    Skipped,
    /// Manifold itself could not go on.
    Error,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Waiting,
        Self::Pausing,
        Self::Paused,
        Self::Aborting,
        Self::Success,
        Self::Failed,
        Self::Aborted,
        Self::Rejected,
        Self::Expired,
        Self::Skipped,
        Self::Error,
    ];

    /// Whether nothing will happen any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Success
                | Self::Failed
                | Self::Aborted
                | Self::Rejected
                | Self::Expired
                | Self::Skipped
                | Self::Error
        )
    }

    /// Whether a parent counts it as success.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::Skipped)
    }

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Pausing => "PAUSING",
            Self::Paused => "PAUSED",
            Self::Aborting => "ABORTING",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Skipped => "SKIPPED",
            Self::Error => "ERROR",
        }
    }

    /// What FirstGen clients see of it (`behaviour.md` 13.1).
    #[must_use]
    pub fn public_name(self) -> &'static str {
        match self {
            Self::Starting | Self::Waiting | Self::Pausing | Self::Aborting => Self::Running.name(),
            other => other.name(),
        }
    }

    /// Reads [`Status::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    fn badness(self) -> u8 {
        match self {
            Self::Failed | Self::Error => 4,
            Self::Aborted => 3,
            Self::Expired => 2,
            Self::Rejected => 1,
            _ => 0,
        }
    }

    /// The status of a whole from its final parts: the worst of `FAILED/ERROR > ABORTED > EXPIRED > REJECTED > SUCCESS/SKIPPED`
    /// (D8, `behaviour.md` 13.1). `None` while a part is not final. An empty whole is SUCCESS; all skipped is SKIPPED.
    #[must_use]
    pub fn worst(parts: impl IntoIterator<Item = Status>) -> Option<Status> {
        let mut worst = None;
        for part in parts {
            if !part.is_final() {
                return None;
            }
            worst = Some(match worst {
                None => part,
                Some(Self::Skipped) if part.is_good() => part,
                Some(so_far) if part.badness() > so_far.badness() => part,
                Some(so_far) => so_far,
            });
        }
        Some(match worst.unwrap_or(Self::Success) {
            Self::Error => Self::Failed,
            other => other,
        })
    }

    /// The status of a whole that may not have ended: final as [`Status::worst`]; else any RUNNING part makes RUNNING, else any
    /// PAUSED makes PAUSED, else QUEUED. Parts are compared by their inner status.
    #[must_use]
    pub fn together(parts: impl IntoIterator<Item = Status> + Clone) -> Status {
        if let Some(worst) = Self::worst(parts.clone()) {
            return worst;
        }
        let mut paused = false;
        let mut begun = false;
        for part in parts {
            match part {
                Self::Starting | Self::Running | Self::Waiting | Self::Pausing | Self::Aborting => {
                    return Self::Running;
                }
                Self::Paused => paused = true,
                other => begun |= other.is_final(),
            }
        }
        match (paused, begun) {
            (true, _) => Self::Paused,
            (false, true) => Self::Running,
            (false, false) => Self::Queued,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.name()), Some(status));
        }
    }

    #[test]
    fn the_worst_part_decides_once_all_have_ended() {
        use Status::*;
        assert_eq!(Status::worst([Success, Skipped]), Some(Success));
        assert_eq!(Status::worst([Skipped]), Some(Skipped));
        assert_eq!(Status::worst([Success, Aborted, Failed, Expired]), Some(Failed));
        assert_eq!(Status::worst([Success, Aborted, Rejected]), Some(Aborted));
        assert_eq!(Status::worst([Success, Error]), Some(Failed));
        assert_eq!(Status::worst([Success, Running]), None);
        assert_eq!(Status::together([Failed, Running]), Running);
        assert_eq!(Status::together([Queued, Paused]), Paused);
        assert_eq!(Status::together([Queued, Queued]), Queued);
    }
}
