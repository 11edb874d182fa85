//! The event bus: nobody waits, and who is slow is told what was missed.

use std::sync::Arc;

use mainspring::{
    Event, EventBus, Missed, Profile, Runtime,
    cache_tier::{EntryOptions, Key},
    compressor::Format,
    monitor::Pressure,
    scheduler::{Access, Budget, Cost, FnTool, Tool, ToolCall, ToolOutput},
};
use serde_json::json;

fn changed(key: &str) -> Event {
    Event::ConfigChanged { key: key.into() }
}

#[tokio::test]
async fn a_slow_subscriber_is_told_how_many_it_missed_and_others_miss_nothing() {
    let bus = EventBus::new(64);
    let (mut slow, mut quick) = (bus.subscribe(), bus.subscribe());
    for n in 0..1_000 {
        assert_eq!(bus.publish(changed(&n.to_string())), 2);
        assert_eq!(quick.recv().await, Some(Ok(changed(&n.to_string()))));
    }
    assert_eq!(slow.recv().await, Some(Err(Missed(936))));
    for n in 936..1_000 {
        assert_eq!(slow.try_recv(), Some(Ok(changed(&n.to_string()))));
    }
    assert_eq!(slow.try_recv(), None);
    drop(bus);
    assert_eq!(slow.recv().await, None);
}

#[tokio::test]
async fn a_thousand_subscribers_each_get_every_event() {
    let bus = EventBus::new(1_024);
    assert_eq!(bus.publish(changed("nobody listens")), 0);
    let listening: Vec<_> = (0..1_000)
        .map(|_| {
            let mut events = bus.subscribe();
            tokio::spawn(async move {
                let mut seen = 0;
                while let Some(event) = events.recv().await {
                    event.expect("nothing is missed");
                    seen += 1;
                }
                seen
            })
        })
        .collect();
    assert_eq!(bus.subscribers(), 1_000);
    for n in 0..100 {
        bus.publish(changed(&n.to_string()));
    }
    drop(bus);
    for task in listening {
        assert_eq!(task.await.unwrap(), 100);
    }
}

#[tokio::test]
async fn what_a_session_does_is_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let mut events = runtime.events().subscribe();
    let mut session = runtime.session("s", Format::OpenAiChat).unwrap();
    let cost = Cost {
        tokens: 0,
        money: 90,
    };
    let read = FnTool::new("read", move |_, _| async move {
        Ok(ToolOutput::text("text").with_usage(cost))
    })
    .access(|_| Access::read("a"))
    .cost(move |_| cost);
    let tools = runtime.toolbox([Arc::new(read) as Arc<dyn Tool>]).unwrap();
    session.set_tools(tools);
    session.set_budget(Budget::new("day", 100));
    session
        .append(r#"{"role":"user","content":"hello"}"#)
        .unwrap();
    let version = session.checkpoint("1").unwrap();
    let outcomes = session
        .run_tools(vec![ToolCall::new("1", "read", json!({}))])
        .await;
    assert!(outcomes[0].result.is_ok(), "{outcomes:?}");

    let s: Arc<str> = "s".into();
    let mut next = || events.try_recv().expect("an event").expect("none missed");
    assert_eq!(
        next(),
        Event::SessionAppended {
            session: s.clone(),
            message: 0
        }
    );
    assert_eq!(
        next(),
        Event::SessionCheckpointed {
            session: s.clone(),
            version
        }
    );
    assert_eq!(
        next(),
        Event::ToolStarted {
            session: s.clone(),
            tool: "read".into()
        }
    );
    assert!(matches!(
        next(),
        Event::ToolEnded {
            succeeded: true,
            ..
        }
    ));
    assert_eq!(
        next(),
        Event::BudgetWarned {
            session: s,
            budget: "day".into()
        }
    );
    assert_eq!(events.try_recv(), None);
    assert_eq!((session.usage().calls, session.usage().call_money), (1, 90));
}

#[tokio::test]
async fn agents_and_settings_that_change_invalidate_what_was_cached_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let mut events = runtime.events().subscribe();
    let load = async |scope: &str, value: &'static str| {
        let cache = runtime.cache();
        let key = Key::new(scope, "prompt");
        let loader = || async move { Ok::<_, std::io::Error>(value.into()) };
        let options = EntryOptions::new();
        let fetched = cache.get_or_try_load(&key, &options, loader);
        fetched.await.unwrap().value
    };
    for scope in ["agent:7", "agent:8", "config:theme"] {
        assert_eq!(load(scope, "old").await, "old");
    }
    runtime.agent_updated("7").await;
    assert_eq!(load("agent:7", "new").await, "new");
    assert_eq!(load("agent:8", "new").await, "old");
    runtime.config_changed("theme").await;
    assert_eq!(load("config:theme", "new").await, "new");
    assert_eq!(
        events.try_recv(),
        Some(Ok(Event::AgentUpdated { id: "7".into() }))
    );
    assert_eq!(events.try_recv(), Some(Ok(changed("theme"))));
}

#[tokio::test]
async fn memory_pressure_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), Profile::Laptop).await.unwrap();
    let mut events = runtime.events().subscribe();
    let mut pressure = runtime.pressure();
    let in_use = || Pressure::TRIM_BYTES + 1;
    assert_eq!(pressure.check(std::time::Duration::ZERO, in_use).len(), 1);
    assert!(matches!(
        events.try_recv(),
        Some(Ok(Event::Pressure { stage: "trim", .. }))
    ));
}
