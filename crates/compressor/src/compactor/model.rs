//! A model writes prose for the summary; the ledger keeps it honest.

use super::{
    Compactor,
    plan::{Plan, PlanStep, Strategy},
    planner,
    section::Section,
    work::Work,
};
use crate::{Error, context::Context, extract, item::Role, quality};
use std::{future::Future, pin::pin, task::Poll};

const INSTRUCTIONS: &str = "Summarise the agent session below for the agent that will continue it. \
Write Markdown with exactly these headings and nothing else before the first: \
\"## 1. Primary request and intent\", \"## 2. Key technical concepts\", \"## 5. Problem solving\", \
\"## 8. Current work\". Name only files that occur in the session. Be brief.\n\n";

/// A failure of a model, as its client reports it.
pub type SummarizerError = Box<dyn std::error::Error + Send + Sync>;

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRequest {
    /// Instructions and session, bounded so that prompt and answer fit the window together.
    pub prompt: String,
    /// Tokens that the answer may have; a longer one is rejected.
    pub max_tokens: usize,
}

/// A model that can summarise.
///
/// Anything that turns a prompt into a text will do: a function from a request to a future is one, so
/// that a `tower` service takes part as `|request| service.clone().oneshot(request)`.
pub trait Summarizer {
    /// Answers the prompt.
    ///
    /// Dropping the future gives up; nothing of this crate is lost by it.
    fn summarize(
        &self,
        request: SummaryRequest,
    ) -> impl Future<Output = Result<String, SummarizerError>> + Send;
}

/// A plan that a model was asked for.
#[derive(Debug)]
pub struct Advised {
    /// The plan: with the model's words, or without when they were no good.
    pub plan: Plan,
    /// Whether the model was asked: it is not when clearing outputs is enough.
    pub asked: bool,
    /// Why the model's words were not taken.
    pub rejected: Option<Error>,
}

/// A function from a request to a future is a summariser.
impl<F, Fut> Summarizer for F
where
    F: Fn(SummaryRequest) -> Fut,
    Fut: Future<Output = Result<String, SummarizerError>> + Send,
{
    fn summarize(
        &self,
        request: SummaryRequest,
    ) -> impl Future<Output = Result<String, SummarizerError>> + Send {
        self(request)
    }
}

impl Compactor {
    /// Plans as [`Compactor::plan`] does, with a model writing the prose of the summary.
    ///
    /// The facts (user messages, files, errors, tasks) come from the record in any case. An answer
    /// is rejected, and the plan made without it, when it fails, does not come before `deadline`
    /// completes, has none of the asked headings, is longer than asked, or names files that do not
    /// occur in the session. Cancel-safe: the context is only read.
    ///
    /// # Errors
    ///
    /// As [`Compactor::plan`].
    pub async fn plan_with<S: Summarizer>(
        &self,
        context: &Context,
        summarizer: &S,
        deadline: impl Future<Output = ()>,
    ) -> Result<Advised, Error> {
        self.breaker(context)?;
        let goal = self.goal(context, 0);
        let plain = planner::plan(&self.settings, context, goal, &[])?;
        let summary = |step: &PlanStep| step.strategy == Strategy::Summary;
        if !plain.steps.iter().any(summary) {
            return Ok(Advised {
                plan: plain,
                asked: false,
                rejected: None,
            });
        }
        let request = request(context);
        let most = request.max_tokens;
        let answer = before(summarizer.summarize(request), deadline).await;
        let words = match answer {
            None => Err(failure("it did not answer in time", None)),
            Some(Err(source)) => Err(failure("it returned an error", Some(source))),
            Some(Ok(answer)) => sections(context, &answer, most),
        };
        // The model's words may be what is too much.
        let plan = words.and_then(|words| planner::plan(&self.settings, context, goal, &words));
        Ok(match plan {
            Ok(plan) => Advised {
                plan,
                asked: true,
                rejected: None,
            },
            Err(error) => Advised {
                plan: plain,
                asked: true,
                rejected: Some(error),
            },
        })
    }
}

/// The answer, unless the deadline comes first.
async fn before<T>(
    answer: impl Future<Output = T>,
    deadline: impl Future<Output = ()>,
) -> Option<T> {
    let (mut answer, mut deadline) = (pin!(answer), pin!(deadline));
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        deadline.as_mut().poll(cx).map(|()| None)
    })
    .await
}

fn failure(what: &str, source: Option<SummarizerError>) -> Error {
    Error::Summarizer {
        what: what.to_owned(),
        source,
    }
}

/// The prompt: the oldest items first, cut so that it stays within the window with its answer.
fn request(context: &Context) -> SummaryRequest {
    let usable = context.budget.usable();
    let sure = 1.0 - context.tokenizer.error_bound().clamp(0.0, 0.9);
    let max_tokens = (usable / 16).clamp(64, 2_000);
    let room = ((usable as f64 * sure) as usize).saturating_sub(max_tokens);
    let text = transcript(context);
    let mut prompt = format!("{INSTRUCTIONS}{text}");
    let tokenizer = &*context.tokenizer;
    let mut bytes = text.len();
    while tokenizer.count_up_to(&prompt, room).is_none() && bytes > 0 {
        bytes = bytes * 3 / 4;
        let (head, tail) = (bytes / 3, bytes - bytes / 3);
        prompt = format!(
            "{INSTRUCTIONS}{}\n[...]\n{}",
            extract::clip(&text, head),
            suffix(&text, tail)
        );
    }
    SummaryRequest { prompt, max_tokens }
}

fn suffix(text: &str, bytes: usize) -> &str {
    let mut from = text.len() - bytes.min(text.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn transcript(context: &Context) -> String {
    let work = Work::new(context);
    let mut out = String::new();
    for at in 0..context.entries.len() {
        let item = work.item(at);
        let who = match item.role() {
            Role::System => continue,
            Role::Human => "USER",
            Role::Assistant | Role::ToolCalls => "AGENT",
            _ => "OBSERVED",
        };
        out.push_str(who);
        out.push_str(": ");
        out.push_str(&item.text());
        for call in item.calls() {
            out.push_str("\nCALL ");
            out.push_str(&call.name);
            out.push(' ');
            out.push_str(extract::clip(&call.arguments, 400));
        }
        for result in item.results() {
            out.push_str(extract::clip(&result.text, 800));
        }
        out.push('\n');
    }
    out
}

/// The prose of an answer by section, when it can be believed.
fn sections(context: &Context, answer: &str, most: usize) -> Result<Vec<(Section, String)>, Error> {
    if context.tokenizer.count_up_to(answer, most).is_none() {
        return Err(failure("its answer is longer than asked", None));
    }
    let mut found: Vec<(Option<Section>, String)> = Vec::new();
    for line in answer.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let mut sections = Section::ALL.into_iter();
            let section = sections.find(|section| heading.trim_end().ends_with(section.title()));
            found.push((section, String::new()));
        } else if let Some((_, text)) = found.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    let prose = found.into_iter().filter_map(|(section, text)| {
        let section = section.filter(|section| section.is_prose())?;
        Some((section, text.trim().to_owned())).filter(|(_, text)| !text.is_empty())
    });
    let found: Vec<(Section, String)> = prose.collect();
    if found.is_empty() {
        return Err(failure("its answer has none of the asked sections", None));
    }
    invented(context, &found)?;
    Ok(found)
}

/// Refuses paths that nobody has mentioned.
fn invented(context: &Context, found: &[(Section, String)]) -> Result<(), Error> {
    let known = quality::text(context.transcript.items());
    for (_, text) in found {
        for path in extract::paths(text) {
            let told = known.contains(path)
                || context
                    .ledger
                    .files
                    .list
                    .iter()
                    .any(|(file, _)| **file == *path);
            if !told {
                return Err(failure(
                    &format!("it names {path}, which does not occur"),
                    None,
                ));
            }
        }
    }
    Ok(())
}
