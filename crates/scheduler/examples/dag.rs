//! A graph of tasks: each starts when its own dependencies are done; a failure skips its descendants only.

use std::time::Duration;

use mainspring_scheduler::{Dag, Error, Scheduler};

async fn work(name: &str, millis: u64) -> Result<String, Error> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(name.to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut dag = Dag::new();
    let plan = dag.node("plan", &[], |_| work("plan", 20));
    let code = dag.node("code", &[plan], |_| work("code", 50));
    let docs = dag.node("docs", &[plan], |_| async {
        Err(Error::Failed {
            message: "the wiki is down".into(),
        })
    });
    let test = dag.node("test", &[code], |inputs| async move {
        work(&format!("tested {}", inputs[0]), 30).await
    });
    dag.node("publish", &[test, docs], |_| work("publish", 10));

    for (number, batch) in dag.batches()?.iter().enumerate() {
        println!("batch {number}: {batch:?}");
    }
    for node in dag.run(&Scheduler::builder().build()?).await? {
        match node.result {
            Ok(output) => println!("{:8} {output}", node.name),
            Err(error) => println!("{:8} {error}", node.name),
        }
    }
    Ok(())
}
