//! The eight sections of a summary.

/// A section of the summary: what it is for, whether a summary may do without it, and what gives way
/// first when room is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Section {
    /// What the person wants, and which message decides.
    Intent,
    /// Names that came up most often.
    Concepts,
    /// Files read and changed, and code in its latest state.
    Files,
    /// Errors, what met them, and what fixed them.
    Errors,
    /// Decisions, changes by request, look-ups and commands.
    Solving,
    /// Every message of a person, word for word.
    UserMessages,
    /// What is still to do.
    PendingTasks,
    /// What the agent said last.
    CurrentWork,
}

impl Section {
    /// All, in the order in which they stand.
    pub const ALL: [Self; 8] = [
        Self::Intent,
        Self::Concepts,
        Self::Files,
        Self::Errors,
        Self::Solving,
        Self::UserMessages,
        Self::PendingTasks,
        Self::CurrentWork,
    ];

    /// The heading, without its number.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Intent => "Primary request and intent",
            Self::Concepts => "Key technical concepts",
            Self::Files => "Files and code",
            Self::Errors => "Errors and fixes",
            Self::Solving => "Problem solving",
            Self::UserMessages => "All user messages",
            Self::PendingTasks => "Pending tasks",
            Self::CurrentWork => "Current work",
        }
    }

    /// Whether a summary is refused when facts of this section are missing from it: wholly for user
    /// messages, by the quality floor for the others.
    #[must_use]
    pub fn is_required(self) -> bool {
        matches!(
            self,
            Self::Files | Self::Errors | Self::Solving | Self::UserMessages | Self::PendingTasks
        )
    }

    /// 1 for what gives way last, 8 for what gives way first.
    #[must_use]
    pub fn priority(self) -> u8 {
        match self {
            Self::UserMessages => 1,
            Self::PendingTasks => 2,
            Self::Intent => 3,
            Self::Files => 4,
            Self::Errors => 5,
            Self::Solving => 6,
            Self::CurrentWork => 7,
            Self::Concepts => 8,
        }
    }

    /// Whether a model's words are taken for it; the others are facts and come from the record.
    pub(super) fn is_prose(self) -> bool {
        matches!(
            self,
            Self::Intent | Self::Concepts | Self::Solving | Self::CurrentWork
        )
    }
}
