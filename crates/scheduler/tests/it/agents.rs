//! Sub-agents.

use mainspring_scheduler::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::*;

fn tools(gauge: Gauge) -> Scheduler {
    let paid = tool("paid", |args, _| async move {
        tokio::time::sleep(ms(args["ms"].as_u64().unwrap_or(1))).await;
        Ok(ToolOutput::text("x").with_usage(Cost {
            tokens: 0,
            money: 30,
        }))
    })
    .cost(|_| Cost {
        tokens: 0,
        money: 50,
    });
    let toolbox = Toolbox::new()
        .with(paid)
        .unwrap()
        .with(sleeper("sleep", gauge))
        .unwrap();
    Scheduler::builder().toolbox(toolbox).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_panicking_hanging_or_spendthrift_agent_takes_nothing_down_and_returns_everything() {
    let gauge = Gauge::default();
    let tools = tools(gauge.clone());
    let global = Budget::new("global", 1_000);
    let agents = Agents::new(&tools, 5).unwrap().with_budget(global.clone());
    let spec = |name: &str| AgentSpec::new(name).budget(200).timeout(ms(5_000));
    let good = agents.spawn(spec("good"), |agent| async move {
        let outcomes = agent.run(vec![call(0, "paid", json!({}))]).await;
        Ok(outcomes[0].result.is_ok())
    });
    let panics = agents.spawn(spec("panics"), |agent| async move {
        agent.run(vec![call(0, "paid", json!({}))]).await;
        let _left_running = agent.stream(sleeps(3, 60_000));
        panic!("bug")
    });
    let hangs = agents.spawn(spec("hangs"), |agent| async move {
        agent.run(sleeps(2, 600_000)).await;
        Ok(())
    });
    let spends = agents.spawn(spec("spends"), |agent| async move {
        let calls = (0..10).map(|i| call(i, "paid", json!({}))).collect();
        Ok(agent
            .run(calls)
            .await
            .iter()
            .filter(|o| o.result.is_ok())
            .count())
    });
    let refused = agents.spawn(spec("too much").budget(201), |_| async { Ok(()) });
    assert!(matches!(
        refused.unwrap_err(),
        Error::OverBudget { available: 200, .. }
    ));
    assert_eq!(global.stats().reserved, 800);

    let good = good.unwrap().await;
    assert_eq!((good.result, good.spent), (Ok(true), 30));
    let panics: AgentReport<()> = panics.unwrap().await;
    assert_eq!(
        (panics.result, panics.spent),
        (
            Err(Error::Panicked {
                message: "bug".into()
            }),
            30
        )
    );
    let hangs = hangs.unwrap().await;
    assert_eq!(
        (hangs.result, hangs.spent),
        (Err(Error::Stopped(Stop::Timeout)), 0)
    );
    let spends = spends.unwrap().await;
    // Four reservations of 50 fit at once; each really costs 30.
    assert_eq!((spends.result, spends.spent), (Ok(4), 120));
    settle().await;
    assert_eq!(gauge.now(), 0);
    assert_eq!(
        (global.spent(), global.stats().reserved, global.left()),
        (180, 0, 820)
    );
    assert_idle(&tools);
    let stats = agents.stats();
    assert_eq!(
        (stats.running, stats.unfinished, stats.max_running),
        (0, 0, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn cancelling_goes_down_the_tree_and_not_up() {
    let gauge = Gauge::default();
    let tools = tools(gauge.clone());
    let root = CancellationToken::new();
    let agents = Agents::new(&tools, 1).unwrap().with_cancellation(&root);
    let parent = agents
        .spawn(AgentSpec::new("parent"), |agent| async move {
            // A group of its own: the outer limit of one does not keep the children from starting.
            let group = agent.agents(2).unwrap();
            let child = |name: &str| {
                group.spawn(AgentSpec::new(name), |agent| async move {
                    Ok(agent.run(sleeps(1, 50)).await.remove(0).result.is_ok())
                })
            };
            let (first, second) = (child("first").unwrap(), child("second").unwrap());
            first.cancel();
            let first = first.await.result;
            let second = second.await.result;
            let hopeless = group
                .spawn(AgentSpec::new("hopeless"), |agent| async move {
                    Ok(agent.run(sleeps(1, 600_000)).await.len())
                })
                .unwrap();
            Ok((first, second, hopeless.await.result))
        })
        .unwrap();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(gauge.now(), 1);
    root.cancel();
    let report = parent.await;
    assert_eq!(report.result.unwrap_err(), Error::Stopped(Stop::Cancelled));
    settle().await;
    assert_eq!(gauge.now(), 0);
    assert_idle(&tools);
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_left_running_elsewhere_ends_with_it() {
    let gauge = Gauge::default();
    let tools = tools(gauge.clone());
    let global = Budget::new("global", 100);
    let agents = Agents::new(&tools, 5).unwrap().with_budget(global.clone());
    let agent = agents.spawn(AgentSpec::new("a").budget(100), |agent| async move {
        let stray = agent.clone();
        tokio::spawn(async move {
            let mut calls = sleeps(2, 600_000);
            calls.push(call(2, "paid", json!({"ms": 600_000})));
            stray.run(calls).await
        });
        tokio::time::sleep(ms(10)).await;
        Ok(agent.budget().unwrap().stats().reserved)
    });
    assert_eq!(agent.unwrap().await.result, Ok(50));
    settle().await;
    assert_eq!(
        (gauge.now(), global.left(), global.stats().reserved),
        (0, 100, 0)
    );
    assert_idle(&tools);
}

#[tokio::test(start_paused = true)]
async fn an_agent_has_its_own_limit_of_tool_calls() {
    let gauge = Gauge::default();
    let tools = tools(gauge.clone());
    let agents = Agents::new(&tools, 5).unwrap();
    let agent = agents.spawn(AgentSpec::new("a").tool_limit(2), |agent| async move {
        Ok(agent.run(sleeps(6, 10)).await.len())
    });
    assert_eq!(agent.unwrap().await.result, Ok(6));
    assert_eq!(gauge.most(), 2);
}

#[tokio::test(start_paused = true)]
async fn at_most_five_are_deployed_at_once_and_one_failure_aborts_none() {
    let tools = tools(Gauge::default());
    let agents = Agents::new(&tools, 5).unwrap();
    let start = tokio::time::Instant::now();
    let handles: Vec<_> = (0..15)
        .map(|n| {
            agents.spawn(AgentSpec::new("a"), move |_| async move {
                tokio::time::sleep(ms(10)).await;
                if n == 3 {
                    Err(Error::Failed {
                        message: "no".into(),
                    })
                } else {
                    Ok(n)
                }
            })
        })
        .collect();
    let mut failed = 0;
    for handle in handles {
        failed += usize::from(handle.unwrap().await.result.is_err());
    }
    assert_eq!(
        (failed, start.elapsed(), agents.stats().max_running),
        (1, ms(30), 5)
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_reports_each_agent_in_order_whatever_becomes_of_it() {
    let tools = tools(Gauge::default());
    let budget = Budget::new("all", 10);
    let agents = Agents::new(&tools, Agents::LIMIT)
        .unwrap()
        .with_budget(budget.clone());
    let start = tokio::time::Instant::now();
    let specs = (0..15).map(|n| {
        let spec = AgentSpec::new(n.to_string());
        // Two want more than there is.
        if n % 7 == 6 { spec.budget(11) } else { spec }
    });
    let run = |agent: AgentContext| async move {
        tokio::time::sleep(ms(10)).await;
        match agent.name() {
            "2" => panic!("a bug"),
            "3" => Err(Error::NoRuntime),
            name => Ok(name.len()),
        }
    };
    let reports = agents.deploy(specs, run).await;
    assert_eq!((start.elapsed(), agents.stats().max_running), (ms(30), 5));
    for (n, report) in reports.iter().enumerate() {
        assert_eq!(report.name, n.to_string());
        match (n, &report.result) {
            (2, Err(Error::Panicked { .. })) | (3, Err(Error::NoRuntime)) => {}
            (6 | 13, Err(Error::OverBudget { .. })) => {}
            (_, result) => assert_eq!(*result, Ok(report.name.len())),
        }
    }
    // Dropped half-way, all stop.
    let specs = (0..15).map(|n| AgentSpec::new(n.to_string()));
    let half = tokio::time::timeout(ms(15), agents.deploy(specs, run)).await;
    assert!(half.is_err());
    tokio::time::sleep(ms(1)).await;
    assert_eq!((agents.stats().unfinished, budget.stats().reserved), (0, 0));
}
