//! Recorded answers, and answers put together from their chunks.

use std::{sync::Arc, time::Duration};

use mainspring_agents::{Answer, Chunk, Error, Provider, RecordedProvider, Request, Usage};

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Chunk {
    Chunk::ToolCall {
        index,
        id: id.map(Into::into),
        name: name.map(Into::into),
        arguments: arguments.into(),
    }
}

#[tokio::test]
async fn chunks_become_an_answer() {
    let provider: Arc<dyn Provider> = Arc::new(RecordedProvider::new([vec![
        Chunk::Text("Let me ".into()),
        Chunk::Text("look.".into()),
        call(0, Some("c1"), Some("read"), "{\"path\""),
        call(1, Some("c2"), Some("grep"), "{}"),
        call(0, None, None, ":\"a\"}"),
        Chunk::Usage(Usage::new(10, 4, 5)),
        Chunk::Finished("tool_calls".into()),
    ]]));
    let request = Request::new("m", "[]").tools("[1]").max_output_tokens(5);
    let answer = Answer::collect(provider.stream(request).await.unwrap(), 1_000)
        .await
        .unwrap();
    assert_eq!(answer.text, "Let me look.");
    assert_eq!(answer.tool_calls[0].arguments, "{\"path\":\"a\"}");
    assert_eq!(
        (
            answer.tool_calls[1].id.as_str(),
            answer.tool_calls[1].name.as_str()
        ),
        ("c2", "grep")
    );
    assert_eq!(
        (answer.usage, answer.finish.as_str()),
        (Some(Usage::new(10, 4, 5)), "tool_calls")
    );
}

#[tokio::test]
async fn failures_are_played_where_they_happened() {
    let limited = Error::RateLimited {
        retry_after: Some(Duration::from_secs(2)),
    };
    let broken = Error::Timeout {
        what: "the next chunk",
        allowed: Duration::from_secs(30),
    };
    let provider = RecordedProvider::with_failures([
        Err(limited),
        Ok(vec![
            Ok(Chunk::Text("half".into())),
            Err(broken),
            Ok(Chunk::Text("never".into())),
        ]),
    ]);
    assert_eq!(provider.remaining(), 2);
    let refused = provider
        .stream(Request::new("m", "[1]"))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, Error::RateLimited { retry_after: Some(wait) } if wait.as_secs() == 2)
    );
    let stream = provider.stream(Request::new("m", "[2]")).await.unwrap();
    assert!(matches!(
        Answer::collect(stream, 1_000).await,
        Err(Error::Timeout { .. })
    ));
    assert!(matches!(
        provider.stream(Request::new("m", "[3]")).await.err(),
        Some(Error::NotFound { .. })
    ));
    let messages: Vec<_> = provider
        .requests()
        .into_iter()
        .map(|request| request.messages)
        .collect();
    assert_eq!(messages, ["[1]", "[2]", "[3]"]);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let chunks = |chunk: Chunk| RecordedProvider::new([vec![chunk; 100]]);
    let provider = chunks(Chunk::Text("0123456789".into()));
    let stream = provider.stream(Request::default()).await.unwrap();
    assert!(matches!(
        Answer::collect(stream, 500).await,
        Err(Error::LimitExceeded { .. })
    ));
    let provider = chunks(call(u32::MAX, None, None, ""));
    let stream = provider.stream(Request::default()).await.unwrap();
    assert!(matches!(
        Answer::collect(stream, 500).await,
        Err(Error::LimitExceeded { .. })
    ));
}
