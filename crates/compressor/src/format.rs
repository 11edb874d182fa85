//! The session formats that are read, and the wire format of each.

use std::fmt;

/// A format in which sessions are recorded or sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// OpenAI chat completions messages.
    OpenAiChat,
    /// Anthropic messages.
    AnthropicMessages,
    /// OpenAI responses items.
    OpenAiResponses,
    /// Gemini contents.
    Gemini,
    /// SWE-agent `.traj` files (`history`).
    SweAgent,
    /// tau-bench runs (`traj`).
    TauBench,
    /// Codex rollout logs, one record a line.
    CodexRollout,
    /// Claude Code session logs, one record a line, or under `loglines`.
    ClaudeCode,
    /// `history` arrays of several named agents.
    MultiAgent,
    /// OpenHands event lists.
    OpenHands,
    /// One message a line, with control records between.
    RoleLines,
}

/// How messages, calls and results are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Chat,
    Anthropic,
    Responses,
    Gemini,
    Events,
}

impl Format {
    /// Every format, in the order of the numbers that saved contexts use.
    pub const ALL: [Self; 11] = [
        Self::OpenAiChat,
        Self::AnthropicMessages,
        Self::OpenAiResponses,
        Self::Gemini,
        Self::SweAgent,
        Self::TauBench,
        Self::CodexRollout,
        Self::ClaudeCode,
        Self::MultiAgent,
        Self::OpenHands,
        Self::RoleLines,
    ];

    /// A short name, fit for a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::AnthropicMessages => "anthropic-messages",
            Self::OpenAiResponses => "openai-responses",
            Self::Gemini => "gemini",
            Self::SweAgent => "swe-agent",
            Self::TauBench => "tau-bench",
            Self::CodexRollout => "codex",
            Self::ClaudeCode => "claude-code",
            Self::MultiAgent => "multi-agent",
            Self::OpenHands => "openhands",
            Self::RoleLines => "role-lines",
        }
    }

    pub(crate) fn wire(self) -> Wire {
        match self {
            Self::OpenAiChat
            | Self::SweAgent
            | Self::TauBench
            | Self::MultiAgent
            | Self::RoleLines => Wire::Chat,
            Self::AnthropicMessages | Self::ClaudeCode => Wire::Anthropic,
            Self::OpenAiResponses | Self::CodexRollout => Wire::Responses,
            Self::Gemini => Wire::Gemini,
            Self::OpenHands => Wire::Events,
        }
    }

    /// Whether results must follow their call at once, as providers demand of a request. Logs may
    /// hold other records between, and results of slow calls late.
    pub(crate) fn adjacent_results(self) -> bool {
        matches!(self.wire(), Wire::Chat | Wire::Gemini) || self == Self::AnthropicMessages
    }

    /// Whether parallel results are recorded in the order of their calls.
    pub(crate) fn ordered_results(self) -> bool {
        self.adjacent_results()
    }

    pub(crate) fn number(self) -> u8 {
        Self::ALL.iter().position(|f| *f == self).unwrap_or(0) as u8
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
