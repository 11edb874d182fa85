//! Phases one to three of a call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::CallWork;
use crate::driver::{Driver, panic_message};
use crate::services::Services;
use crate::tool::{ContextInner, ToolContext};
use crate::toolbox::Registered;
use crate::{
    Access, CallError, CallErrorKind, Cost, Decision, Phase, Submission, ToolCall, ToolOutcome,
    Toolbox,
};

/// A call that passed phases one and two, and the hook's word on it.
pub(crate) struct Prepared {
    pub(crate) submission: Submission,
    pub(crate) work: CallWork,
    pub(crate) decision: Decision,
}

/// Phases one and two, everything the tool says about the call, and the hook of phase three.
pub(crate) fn prepare(
    call: ToolCall,
    index: usize,
    toolbox: &Toolbox,
    services: &Arc<Services>,
    driver: &Arc<Driver>,
    reply: &mpsc::UnboundedSender<ToolOutcome>,
) -> Result<Prepared, CallError> {
    let counts = &services.counts;
    counts.enter(Phase::Resolve);
    let registered = toolbox
        .find(&call.name)
        .cloned()
        .ok_or_else(|| unknown(&call.name, toolbox))?;
    counts.enter(Phase::Validate);
    if let Some(schema) = &registered.input {
        schema.check(&call.args).map_err(|what| {
            let message = format!(
                "the arguments of {} do not fit its schema: {what}",
                call.name
            );
            CallError::new(Phase::Validate, CallErrorKind::InvalidInput, message)
        })?;
    }
    let declared = declare(&registered, &call.args)?;
    counts.enter(Phase::Authorise);
    let decision = authorise(services, &call, &declared.access);
    let cancellation = call
        .cancellation
        .as_ref()
        .map_or_else(CancellationToken::new, |token| token.child_token());
    let submitted = driver.now();
    let submission = Submission {
        kind: call.name.clone(),
        tenant: call.session.clone(),
        priority: call.priority,
        cost: u32::try_from(declared.cost.tokens).unwrap_or(u32::MAX),
        access: declared.access,
        timeout: Some(declared.timeout.unwrap_or(services.timeout)),
        deadline: call.deadline.map(|within| submitted.saturating_add(within)),
        ..Submission::default()
    };
    let cancelled = call
        .cancellation
        .map(|token| Box::pin(token.cancelled_owned()));
    let inner = ContextInner {
        id: call.id,
        tool: call.name,
        session: call.session,
        index,
        cancellation,
        output: call.output,
        holds: Default::default(),
    };
    let work = CallWork {
        services: services.clone(),
        driver: driver.clone(),
        registered,
        args: Arc::new(call.args),
        context: ToolContext {
            inner: Arc::new(inner),
            attempt: 0,
        },
        endpoint: declared.endpoint,
        cost: declared.cost,
        budget: call.budget.or_else(|| services.budget.clone()),
        submitted,
        first_start: None,
        phase: Phase::Reserve,
        cancelled,
        attempt: None,
        answer: None,
        money: None,
        rate: None,
        result: None,
        ended: submitted,
        reply: Some(reply.clone()),
    };
    Ok(Prepared {
        submission,
        work,
        decision,
    })
}

fn authorise(services: &Services, call: &ToolCall, access: &Access) -> Decision {
    let Some(hook) = &services.authorise else {
        return Decision::Allow;
    };
    let asked = catch_unwind(AssertUnwindSafe(|| hook(call, access)));
    asked.unwrap_or_else(|_| Decision::Deny("the hook that decides panicked".to_owned()))
}

struct Declared {
    access: Access,
    endpoint: Option<String>,
    cost: Cost,
    timeout: Option<Duration>,
}

fn declare(registered: &Registered, args: &Value) -> Result<Declared, CallError> {
    let tool = &registered.tool;
    let declare = || Declared {
        access: tool.access(args),
        endpoint: tool.endpoint(args),
        cost: tool.cost(args),
        timeout: tool.timeout(),
    };
    catch_unwind(AssertUnwindSafe(declare)).map_err(|panic| {
        let message = format!(
            "the tool panicked while declaring the call: {}",
            panic_message(&*panic)
        );
        CallError::new(Phase::Validate, CallErrorKind::Panicked, message)
    })
}

fn unknown(name: &str, toolbox: &Toolbox) -> CallError {
    const SHOWN: usize = 20;
    let names = toolbox.names();
    let known = names
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let message = format!("there is no tool called {name:?}; there are: {known}{more}");
    CallError::new(Phase::Resolve, CallErrorKind::UnknownTool, message)
}
