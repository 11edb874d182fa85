//! A model as a tool, so that the scheduler does for its calls what it does for others.

use std::{fmt, sync::Arc};

use mainspring_agents::{Answer, Error, Provider, Request};
use mainspring_scheduler::{
    Access, BoxFuture, Budget, BudgetLevel, Cost, ModelRequest, ModelRouter, Prices, RetryAfter,
    Tier, Tool, ToolContext, ToolError, ToolOutput,
};
use serde_json::{Value, json, value::RawValue};

/// Bytes of a request that are taken for a token before the provider has counted.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens of an answer of which the request does not say how long it may be.
const MAX_OUTPUT: u64 = 4_096;
/// Largest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// A [`Provider`] as a [`Tool`]: its calls run under the scheduler's limit, budgets, rates, timeouts and
/// retries. What it costs is reserved before the call (a token for four bytes of the request, and
/// the most that the answer may have) and settled by what the provider counted. Without
/// `max_output_tokens` the answer may have 4,096. A 429 is retried when its `Retry-After` says, a failing connection or server after the
/// usual back-off, what the provider refuses not at all. An answer that breaks off costs what was
/// reserved for it, each time; a refusal nothing. A call that is dropped, or runs out of time, gives back
/// what was reserved; if its answer had begun, the budget of [`watch`](Self::watch) is charged as much.
///
/// Arguments: `messages` and `tools`, JSON **texts** that are sent byte for byte; `agent`, `prompt` (what
/// the tier is chosen by; default the messages), `max_output_tokens`. The result has `text`, `tool_calls`
/// (`id`, `name`, `arguments`), `finish` and `model`.
///
/// Cost beyond the provider's: choosing the tier, O(prompt), twice. Thread-safe.
pub struct ModelTool {
    provider: Arc<dyn Provider>,
    models: [String; 3],
    router: ModelRouter,
    prices: Prices,
    budget: Option<Budget>,
}

impl ModelTool {
    /// Wraps a provider; every tier asks `model`.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, model: impl Into<String>) -> Self {
        let model = model.into();
        Self {
            provider,
            models: [model.clone(), model.clone(), model],
            router: ModelRouter::new(),
            prices: Prices::default(),
            budget: None,
        }
    }

    /// Another model for a tier.
    #[must_use]
    pub fn tier(mut self, tier: Tier, model: impl Into<String>) -> Self {
        self.models[place(tier)] = model.into();
        self
    }

    /// Who chooses the tier. Default [`ModelRouter::new`].
    #[must_use]
    pub fn router(mut self, router: ModelRouter) -> Self {
        self.router = router;
        self
    }

    /// What the tiers cost. Default [`Prices::default`].
    #[must_use]
    pub fn prices(mut self, prices: Prices) -> Self {
        self.prices = prices;
        self
    }

    /// The budget whose level makes tiers cheaper, and which is charged for answers that nobody waited for.
    /// Who pays for the others is up to the call. Default none.
    #[must_use]
    pub fn watch(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    fn route(&self, args: &Value) -> Tier {
        let level = self
            .budget
            .as_ref()
            .map_or(BudgetLevel::Normal, Budget::level);
        let tools = args["tools"].as_str().unwrap_or_default();
        let tools = serde_json::from_str::<Vec<&RawValue>>(tools);
        let request = ModelRequest {
            agent: args["agent"].as_str().unwrap_or_default(),
            prompt: args["prompt"].as_str().unwrap_or(messages(args)),
            tools: tools.map_or(0, |tools| tools.len()),
        };
        self.router.route(&request, level).tier
    }

    /// What a call is taken to cost before the provider has counted.
    fn most(&self, args: &Value, tier: Tier) -> Cost {
        let asked = messages(args).len() + args["tools"].as_str().map_or(0, str::len);
        let tokens = (asked as u64)
            .div_ceil(BYTES_PER_TOKEN)
            .saturating_add(max_output(args));
        Cost {
            tokens,
            money: self.prices.cost(tier, tokens),
        }
    }

    async fn ask(&self, args: &Value, tier: Tier) -> Result<ToolOutput, ToolError> {
        let model = &self.models[place(tier)];
        let mut request = Request::new(model, messages(args));
        if let Some(tools) = args["tools"].as_str() {
            request = request.tools(tools);
        }
        let most = max_output(args);
        request = request.max_output_tokens(u32::try_from(most).unwrap_or(u32::MAX));
        let stream = self.provider.stream(request).await.map_err(told)?;
        let begun = Begun {
            budget: self.budget.as_ref(),
            money: self.most(args, tier).money,
        };
        let answer = Answer::collect(stream, MAX_ANSWER).await;
        begun.ended();
        // It was begun, so it is paid for; nobody says how much.
        let cut = |error| ToolError {
            usage: Some(self.most(args, tier)),
            ..told(error)
        };
        let answer = answer.map_err(cut)?;
        let usage = answer.usage.map(|usage| {
            let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
            Cost {
                tokens,
                money: self.prices.cost(tier, tokens),
            }
        });
        let calls = answer
            .tool_calls
            .iter()
            .map(|call| json!({"id": call.id, "name": call.name, "arguments": call.arguments}));
        let content = json!({
            "text": answer.text,
            "tool_calls": calls.collect::<Vec<_>>(),
            "finish": answer.finish,
            "model": model,
        });
        Ok(ToolOutput {
            usage,
            ..ToolOutput::json(content)
        })
    }
}

impl Tool for ModelTool {
    fn name(&self) -> &str {
        self.provider.name()
    }

    fn schema(&self) -> Option<Value> {
        Some(json!({
            "type": "object",
            "required": ["messages"],
            "properties": {
                "messages": {"type": "string"},
                "tools": {"type": "string"},
                "agent": {"type": "string"},
                "prompt": {"type": "string"},
                "max_output_tokens": {"type": "integer", "minimum": 1},
            },
        }))
    }

    fn access(&self, _: &Value) -> Access {
        Access::none()
    }

    fn endpoint(&self, _: &Value) -> Option<String> {
        Some(self.provider.name().to_owned())
    }

    fn cost(&self, args: &Value) -> Cost {
        self.most(args, self.route(args))
    }

    fn call<'a>(
        &'a self,
        args: &'a Value,
        _: &'a ToolContext,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        Box::pin(self.ask(args, self.route(args)))
    }
}

impl fmt::Debug for ModelTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelTool")
            .field("provider", &self.provider.name())
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

/// An answer that began. Dropped before it ended, it was made all the same, and is paid for.
struct Begun<'a> {
    budget: Option<&'a Budget>,
    money: u64,
}

impl Begun<'_> {
    fn ended(mut self) {
        self.budget = None;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(budget) = self.budget else {
            return;
        };
        // What the call reserved may fill the budget until it is given back, just after this.
        let paid = budget.reserve(self.money).or_else(|_| budget.reserve(0));
        if let Ok(paid) = paid {
            paid.settle(self.money);
        }
    }
}

fn max_output(args: &Value) -> u64 {
    args["max_output_tokens"].as_u64().unwrap_or(MAX_OUTPUT)
}

fn messages(args: &Value) -> &str {
    args["messages"].as_str().unwrap_or_default()
}

fn place(tier: Tier) -> usize {
    match tier {
        Tier::Fast => 0,
        Tier::Balanced => 1,
        Tier::Quality => 2,
    }
}

/// Whether trying again may help.
fn told(error: Error) -> ToolError {
    let message = error.to_string();
    match error {
        Error::RateLimited { retry_after } => {
            ToolError::rate_limited(message, retry_after.map(RetryAfter::Delay))
        }
        Error::Refused {
            status: 408 | 500..,
            ..
        }
        | Error::Transport { .. }
        | Error::Timeout { .. } => ToolError::transient(message),
        _ => ToolError::permanent(message),
    }
}
