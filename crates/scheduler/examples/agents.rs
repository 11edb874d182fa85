//! Three agents under one budget: one does well, one spends all it has, one panics. Nobody else notices, and what is
//! not spent comes back.

use std::error::Error;
use std::time::Duration;

use mainspring_scheduler::{
    Access, AgentContext, AgentSpec, Agents, Budget, Cost, FnTool, ModelRequest, ModelRouter,
    Prices, Scheduler, ToolCall, ToolOutput, Toolbox,
};
use serde_json::json;

const TOKENS: u64 = 4_000;

/// Asks models of the tier that the question needs and the budget allows.
async fn research(
    agent: AgentContext,
    questions: &'static [&'static str],
) -> Result<usize, mainspring_scheduler::Error> {
    let router = ModelRouter::new();
    let mut answered = 0;
    for (number, &prompt) in questions.iter().enumerate() {
        let level = agent.budget().map(Budget::level);
        let request = ModelRequest {
            agent: agent.name(),
            prompt,
            tools: 1,
        };
        let route = router.route(
            &request,
            level.unwrap_or(mainspring_scheduler::BudgetLevel::Normal),
        );
        let price = Prices::default().cost(route.tier, TOKENS);
        let call = ToolCall::new(
            number.to_string(),
            "ask",
            json!({"prompt": prompt, "price": price}),
        );
        let outcome = agent.run(vec![call]).await.remove(0);
        println!(
            "  {} asks {:?}: {}",
            agent.name(),
            route.tier,
            outcome.to_text()
        );
        answered += usize::from(outcome.result.is_ok());
    }
    assert!(agent.name() != "careless", "an agent with a bug");
    Ok(answered)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ask = FnTool::new("ask", |args, _| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        // Reserved the whole price; the answer was shorter.
        let money = args["price"].as_u64().unwrap_or(0) / 4 * 3;
        Ok(ToolOutput::text("an answer").with_usage(Cost {
            tokens: 3_000,
            money,
        }))
    })
    .access(|_| Access::none())
    .cost(|args| Cost {
        tokens: TOKENS,
        money: args["price"].as_u64().unwrap_or(0),
    });
    let tools = Scheduler::builder()
        .toolbox(Toolbox::new().with(ask)?)
        .build()?;

    let budget = Budget::new("project", 60_000_000);
    let agents = Agents::new(&tools, 5)?.with_budget(budget.clone());
    let handles = [
        agents.spawn(AgentSpec::new("steady").budget(20_000_000), |agent| {
            research(agent, &["List the files.", "Explain this test."])
        })?,
        agents.spawn(AgentSpec::new("spender").budget(20_000_000), move |agent| {
            research(
                agent,
                &[
                    "Design the architecture and prove it is free of deadlocks.",
                    "Investigate the root cause of the race condition.",
                    "Design the migration and analyse its security.",
                ],
            )
        })?,
        agents.spawn(AgentSpec::new("careless").budget(15_000_000), |agent| {
            research(agent, &["List the files."])
        })?,
    ];
    println!("set aside: {}", budget.stats().reserved);
    for handle in handles {
        let report = handle.await;
        match report.result {
            Ok(answered) => println!("{}: {answered} answers for {}", report.name, report.spent),
            Err(error) => println!("{}: {error}, after {}", report.name, report.spent),
        }
    }
    println!(
        "spent {} of {}, reserved {}",
        budget.spent(),
        budget.stats().limit,
        budget.stats().reserved
    );
    Ok(())
}
