//! The hook before a call, and a human behind it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::{Access, BoxFuture, ToolCall};

/// What the hook says about a call.
#[non_exhaustive]
pub enum Decision {
    /// It may run.
    Allow,
    /// It may not; the reason is for the model.
    Deny(String),
    /// Somebody has to be asked: the call waits for this future and holds nothing meanwhile: no slot, no key, no
    /// money. Later calls of the same run that conflict with it wait with it; everything else goes on.
    Ask(BoxFuture<'static, Result<(), String>>),
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("Allow"),
            Self::Deny(why) => f.debug_tuple("Deny").field(why).finish(),
            Self::Ask(_) => f.write_str("Ask"),
        }
    }
}

pub(crate) type Authorise = Arc<dyn Fn(&ToolCall, &Access) -> Decision + Send + Sync>;

/// Where questions are put. Clones put them to the same inbox.
#[derive(Debug, Clone)]
pub struct Approvals {
    sender: mpsc::Sender<Approval>,
}

impl Approvals {
    /// A place for questions and the inbox where they arrive; at most `waiting` (at least 1) unread ones, further
    /// calls wait for room.
    #[must_use]
    pub fn new(waiting: usize) -> (Self, ApprovalInbox) {
        let (sender, receiver) = mpsc::channel(waiting.max(1));
        (Self { sender }, ApprovalInbox { receiver })
    }

    /// Puts the question whether this call may run.
    #[must_use]
    pub fn ask(&self, call: &ToolCall) -> Decision {
        let (answer, answered) = oneshot::channel();
        let approval = Approval {
            id: call.id.clone(),
            tool: call.name.clone(),
            args: call.args.clone(),
            answer: Some(answer),
        };
        let sender = self.sender.clone();
        Decision::Ask(Box::pin(async move {
            if sender.send(approval).await.is_err() {
                return Err("nobody is there to approve it".to_owned());
            }
            answered
                .await
                .unwrap_or_else(|_| Err("it was not approved".to_owned()))
        }))
    }
}

/// Questions that wait for a human.
#[derive(Debug)]
pub struct ApprovalInbox {
    receiver: mpsc::Receiver<Approval>,
}

impl ApprovalInbox {
    /// The next question whose call still waits; `None` when nobody can ask any more.
    pub async fn next(&mut self) -> Option<Approval> {
        loop {
            let approval = self.receiver.recv().await?;
            if approval
                .answer
                .as_ref()
                .is_some_and(|answer| !answer.is_closed())
            {
                return Some(approval);
            }
        }
    }
}

/// One question; dropping it says no.
#[derive(Debug)]
#[must_use = "dropping it denies the call"]
pub struct Approval {
    /// The call's id.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// The arguments.
    pub args: serde_json::Value,
    answer: Option<oneshot::Sender<Result<(), String>>>,
}

impl Approval {
    /// Yes.
    pub fn allow(mut self) {
        self.reply(Ok(()));
    }

    /// No, because.
    pub fn deny(mut self, why: impl Into<String>) {
        self.reply(Err(why.into()));
    }

    fn reply(&mut self, answer: Result<(), String>) {
        if let Some(sender) = self.answer.take() {
            // The call may have been cancelled meanwhile.
            let _ = sender.send(answer);
        }
    }
}
