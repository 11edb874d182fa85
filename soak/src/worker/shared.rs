//! Sessions that two machines serve at once: they read and write documents, and their results are
//! shared through Redis.

use std::time::Duration;

use mainspring::{Session, compressor::Format, scheduler::ToolCall};
use serde_json::json;

use super::{Pace, slot::Slot, texts, tools};

/// Of these there are so many on each machine.
pub(super) const SHARED: u32 = 4;
/// What keeps their calls apart from those of the other sessions.
const FIRST: u32 = 1_000;

impl Slot {
    /// One of them, until the server stops.
    pub(super) async fn share(mut self, number: u32) {
        let Some(session) = self.open_shared(number).await else {
            return;
        };
        loop {
            while *self.pace.borrow_and_update() == Pace::Rest {
                let _ = self.pace.changed().await;
            }
            if *self.pace.borrow() == Pace::Stop {
                return;
            }
            let pause = Duration::from_millis(self.rng.u64(20..160));
            let _ = tokio::time::timeout(pause, self.pace.changed()).await;
            let calls = (0..self.rng.usize(1..=4))
                .map(|_| self.shared_call())
                .collect();
            self.run_tools(&session, calls).await;
        }
    }

    pub(super) fn shared(server: &std::sync::Arc<super::Server>, number: u32) -> Self {
        Self::new(server, FIRST + number)
    }

    async fn open_shared(&mut self, number: u32) -> Option<Session> {
        while *self.pace.borrow() != Pace::Stop {
            let name = format!("shared-{number}");
            let opened = self.server.runtime.session(&name, Format::OpenAiChat);
            if let (Ok(mut session), Ok(tools)) = (opened, tools::toolbox(&self.server)) {
                session.set_tools(tools);
                return Some(session);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    fn shared_call(&mut self) -> ToolCall {
        let (id, document) = (self.fresh_id(), self.rng.u32(..texts::DOCUMENTS / 8));
        match self.rng.u8(..100) {
            0..12 => ToolCall::new(id, "write_docs", json!({ "docs": [document] })),
            _ => ToolCall::new(id, "read_doc", json!({ "doc": document })),
        }
    }
}
