//! Model tiers under a budget.

use mainspring_scheduler::*;

#[test]
fn documented_bounds_prices_and_downgrades() {
    let prices = Prices::default();
    assert_eq!(
        [Tier::Fast, Tier::Balanced, Tier::Quality].map(|tier| prices.of(tier)),
        [0.3, 1.0, 3.0]
    );
    assert_eq!(prices.cost(Tier::Quality, 1_000), 3_000_000);
    assert_eq!(prices.cost(Tier::Fast, 1), 300);
    assert_eq!(
        Prices {
            fast: f64::NAN,
            ..prices
        }
        .cost(Tier::Fast, 9),
        0
    );
    assert_eq!((Tier::Fast.speed(), Tier::Quality.speed()), (3.0, 1.0));
    let scored = |score: f64, level| {
        let route = ModelRouter::new()
            .scorer(move |_| score)
            .route(&ModelRequest::default(), level);
        (route.tier, route.downgraded)
    };
    use BudgetLevel::{Critical, Normal, Warn};
    assert_eq!(scored(0.29, Normal), (Tier::Fast, false));
    assert_eq!(scored(0.30, Normal), (Tier::Balanced, false));
    assert_eq!(scored(0.69, Normal), (Tier::Balanced, false));
    assert_eq!(scored(0.70, Normal), (Tier::Quality, false));
    assert_eq!(scored(0.70, Warn), (Tier::Balanced, true));
    assert_eq!(scored(0.50, Warn), (Tier::Balanced, false));
    assert_eq!(scored(0.50, Critical), (Tier::Fast, true));
    assert_eq!(scored(f64::NAN, Normal), (Tier::Fast, false));
}

#[test]
fn a_days_budget_moves_the_tier() {
    let budget = Budget::new("day", Prices::DAILY_BUDGET);
    let router = ModelRouter::new();
    let prompt = "Investigate the root cause of this race condition and design a fix.";
    let request = ModelRequest {
        agent: "a",
        prompt,
        tools: 3,
    };
    let mut tiers = Vec::new();
    let prices = Prices::default();
    while let Ok(reservation) = {
        let tier = router.route(&request, budget.level()).tier;
        tiers.push(tier);
        budget.reserve(prices.cost(tier, 5_000))
    } {
        let amount = reservation.amount();
        reservation.settle(amount);
    }
    tiers.dedup();
    assert_eq!(tiers, [Tier::Quality, Tier::Balanced, Tier::Fast]);
    assert!(budget.spent() <= Prices::DAILY_BUDGET && budget.left() < 1_500_000);
}

#[test]
fn the_default_scorer_is_total_and_grows_with_what_it_counts() {
    let score = |prompt: &str, tools| {
        complexity(&ModelRequest {
            agent: "",
            prompt,
            tools,
        })
    };
    assert_eq!(score("", 0), 0.0);
    assert!(score("list the files", 0) < score("list the files", 30));
    assert!(score("text", 0) < score(&"text ".repeat(2_000), 0));
    assert!(score("plain\ntext", 0) < score("let a = 1;\nlet b = 2;", 0));
    let everything = "design prove deadlock distributed security root cause ".repeat(1_000);
    assert_eq!(score(&everything, usize::MAX), 1.0);
}

#[test]
fn the_default_scorer_reads_what_is_asked_and_not_what_is_attached() {
    let tier = |prompt: &str| {
        let request = ModelRequest {
            prompt,
            tools: 8,
            ..ModelRequest::default()
        };
        ModelRouter::new().route(&request, BudgetLevel::Normal).tier
    };
    let attached =
        "\n\nfn lock() {\n    // a deadlock, by design: prove it distributed\n}\n".repeat(40);
    for (asked, expected) in [
        ("Where is the cache directory configured?", Tier::Fast),
        ("Could you please list the open branches.", Tier::Fast),
        ("How many requests failed since noon?", Tier::Fast),
        ("Reply with one word: did it compile", Tier::Fast),
        ("Port the date picker to the new widgets.", Tier::Balanced),
        (
            "Is the second way better for short strings?",
            Tier::Balanced,
        ),
        ("How does the scheduler pick a worker?", Tier::Balanced),
        (
            "Die Anmeldung schl\u{e4}gt fehl, bitte beheben.",
            Tier::Balanced,
        ),
        (
            "Redesign replication so that a partition loses no write.",
            Tier::Quality,
        ),
        (
            "Customers lose their basket intermittently; find out how.",
            Tier::Quality,
        ),
    ] {
        assert_eq!(tier(asked), expected, "{asked}");
        assert_eq!(
            tier(&format!("{asked}{attached}")),
            expected,
            "{asked}, attached"
        );
        assert_eq!(
            tier(&format!("{}\n\n{asked}", attached.trim())),
            expected,
            "{asked}, at the end"
        );
    }
}
