use super::*;
use crate::nntp::request::Said;
use altmount_vfs::Arrival;
use tokio::sync::oneshot::{self, Receiver};

fn request(id: &str, class: Class, kind: Kind) -> (Request, Receiver<Said>) {
    let (reply, answer) = oneshot::channel();
    (
        Request {
            id: id.into(),
            kind,
            class,
            providers: 0b11,
            avoid: Vec::new(),
            tries: 0,
            flight: None,
            arrival: None,
            reply,
        },
        answer,
    )
}

/// Puts so many articles of 1 MiB for this reader into the queue, with its name as their id.
fn read_ahead(queue: &mut Queue, name: &str, reader: &Arc<Ledger>, articles: usize) -> Vec<Receiver<Said>> {
    let push = |_| {
        let (mut request, answer) = request(name, Class::ReadAhead, Kind::Body);
        request.arrival = Some(Arrival::of(None, Some(1 << 20), Some(Arc::clone(reader))));
        queue.push(request, 1000);
        answer
    };
    (0..articles).map(push).collect()
}

fn empty() -> Queue {
    Queue::new(&PoolOptions::default())
}

/// Takes for the second provider's connection 7.
fn take(queue: &mut Queue, body: bool, stat: bool) -> Option<Request> {
    let taker = Taker {
        provider: 0b10,
        connection: 7,
        body,
        stat,
        kept: false,
    };
    queue.pop(&taker, |_| true)
}

fn total(queue: &Queue) -> usize {
    queue.len(Kind::Body, u64::MAX) + queue.len(Kind::Stat, u64::MAX)
}

fn fill(requests: &[(&str, Class, Kind)]) -> (Queue, Vec<Receiver<Said>>) {
    let mut queue = empty();
    let answers = requests.iter().map(|(id, class, kind)| {
        let (request, answer) = request(id, *class, *kind);
        queue.push(request, 100);
        answer
    });
    let answers = answers.collect();
    (queue, answers)
}

fn order(queue: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| take(queue, true, true))
        .map(|r| r.id.to_string())
        .collect()
}

#[test]
fn the_urgent_go_first_and_the_oldest_within_a_class() {
    let (mut queue, _answers) = fill(&[
        ("r", Class::Repair, Kind::Body),
        ("i1", Class::Import, Kind::Stat),
        ("i2", Class::Import, Kind::Body),
        ("p", Class::Playback, Kind::Body),
        ("a", Class::ReadAhead, Kind::Body),
    ]);
    assert_eq!(total(&queue), 5);
    assert_eq!(order(&mut queue), ["p", "a", "i1", "i2", "r"]);
    assert_eq!(total(&queue), 0);
}

#[test]
fn a_kind_without_room_waits_and_does_not_hold_up_the_other() {
    let (mut queue, _answers) = fill(&[
        ("b", Class::Playback, Kind::Body),
        ("s", Class::Repair, Kind::Stat),
    ]);
    assert_eq!(&*take(&mut queue, false, true).unwrap().id, "s");
    assert!(take(&mut queue, false, true).is_none());
    assert_eq!(&*take(&mut queue, true, false).unwrap().id, "b");
}

#[test]
fn no_class_starves_and_each_has_its_share() {
    let mut requests = vec![("repair", Class::Repair, Kind::Body)];
    requests.extend(std::iter::repeat_n(("health", Class::Health, Kind::Stat), 100));
    requests.extend(std::iter::repeat_n(("import", Class::Import, Kind::Body), 100));
    requests.extend(std::iter::repeat_n(("play", Class::Playback, Kind::Body), 400));
    let (mut queue, _answers) = fill(&requests);
    let order = order(&mut queue);
    let count = |name: &str| order[..400].iter().filter(|id| *id == name).count();
    // 6 and 3 of 100 go to imports and health checks, and not more while somebody watches.
    assert!((23..=26).contains(&count("import")), "{}", count("import"));
    assert!((10..=13).contains(&count("health")), "{}", count("health"));
    assert_eq!(count("repair"), 1);
}

#[test]
fn what_somebody_waits_for_goes_before_all_read_ahead() {
    let mut requests = vec![("ahead", Class::ReadAhead, Kind::Body); 10];
    requests.extend(std::iter::repeat_n(("play", Class::Playback, Kind::Body), 200));
    let (mut queue, _answers) = fill(&requests);
    let order = order(&mut queue);
    assert!(order[..200].iter().all(|id| id == "play"));
}

#[test]
fn readers_take_turns_in_read_ahead_however_much_each_asks_for() {
    let [a, b, c] = [(); 3].map(|()| Arc::new(Ledger::new()));
    let mut queue = empty();
    let _a = read_ahead(&mut queue, "a", &a, 20);
    let _b = read_ahead(&mut queue, "b", &b, 4);
    let _c = read_ahead(&mut queue, "c", &c, 2);
    assert_eq!(
        order(&mut queue).join(""),
        format!("abcabcabab{}", "a".repeat(16))
    );
}

#[test]
fn who_comes_begins_where_the_others_are_and_who_had_nothing_to_ask_for_makes_up_for_a_part() {
    let [a, b, c] = [(); 3].map(|()| Arc::new(Ledger::new()));
    let mut queue = empty();
    let _a = read_ahead(&mut queue, "a", &a, 100);
    let _b = read_ahead(&mut queue, "b", &b, 1);
    let taken = |queue: &mut Queue, articles: usize| -> String {
        (0..articles)
            .map(|_| take(queue, true, true).unwrap().id.to_string())
            .collect()
    };
    assert_eq!(taken(&mut queue, 60), format!("ab{}", "a".repeat(58)));
    let _b = read_ahead(&mut queue, "b", &b, 50);
    let _c = read_ahead(&mut queue, "c", &c, 4);
    // So much before the others, and then its turn among them.
    let part = (CATCH_UP >> 20) as usize;
    assert_eq!(taken(&mut queue, part), "b".repeat(part));
    let next = taken(&mut queue, 12);
    let count = |name| next.matches(name).count();
    assert_eq!((count("a"), count("b"), count("c")), (4, 4, 4), "{next}");
}

#[test]
fn what_a_reader_waited_for_is_a_turn_of_it_and_what_is_put_back_goes_first() {
    let [a, b] = [(); 2].map(|()| Arc::new(Ledger::new()));
    let mut queue = empty();
    let _a = read_ahead(&mut queue, "a", &a, 3);
    let mut answers = read_ahead(&mut queue, "a", &a, 2);
    queue.lanes[READ_AHEAD].heaps[0].lines[0]
        .requests
        .iter_mut()
        .skip(3)
        .for_each(|(_, request)| request.id = "wanted".into());
    queue.raise("wanted", Class::Playback);
    queue.raise("wanted", Class::Playback);
    answers.extend(read_ahead(&mut queue, "b", &b, 4));
    let mut taken = || take(&mut queue, true, true).unwrap().id.to_string();
    let first = [(); 4].map(|()| taken());
    assert_eq!(first, ["wanted", "wanted", "b", "b"], "two each");
    let (mut late, _late) = request("late", Class::ReadAhead, Kind::Body);
    late.arrival = Some(Arrival::of(None, Some(1 << 20), Some(a)));
    queue.put_back(late);
    assert_eq!(order(&mut queue), ["late", "a", "b", "a", "b", "a"]);
}

#[test]
fn a_connection_takes_what_its_provider_may_be_asked_and_what_is_not_late_on_it() {
    let mut queue = empty();
    let (mut first, _a) = request("first", Class::Import, Kind::Body);
    first.providers = 0b01;
    let (mut late, _b) = request("late", Class::Playback, Kind::Body);
    late.avoid = vec![7];
    let (both, _c) = request("both", Class::Import, Kind::Body);
    for request in [first, late, both] {
        queue.push(request, 100);
    }
    assert_eq!(order(&mut queue), ["both"]);
    let taker = Taker {
        provider: 0b10,
        connection: 8,
        body: true,
        stat: true,
        kept: false,
    };
    assert!(queue.pop(&taker, |w| w.class != 0).is_none());
    assert_eq!(&*queue.pop(&taker, |_| true).unwrap().id, "late");
    assert_eq!(total(&queue), 1);
}

#[test]
fn a_provider_that_is_taken_out_leaves_the_others_and_the_order() {
    let mut queue = empty();
    let mut answers = Vec::new();
    for (at, providers) in [0b01, 0b11, 0b10, 0b11].into_iter().enumerate() {
        let (mut request, answer) = request(&at.to_string(), Class::Import, Kind::Body);
        request.providers = providers;
        queue.push(request, 100);
        answers.push(answer);
    }
    let alone = queue.without(0b01);
    assert_eq!(alone.iter().map(|r| &*r.id).collect::<Vec<_>>(), ["0"]);
    assert_eq!(queue.waiting().len(), 1, "all wait for the same now");
    assert_eq!(order(&mut queue), ["1", "2", "3"]);
}

#[test]
fn the_abandoned_are_dropped_and_cannot_fill_it() {
    let mut queue = empty();
    for _ in 0..1000 {
        let (request, answer) = request("x", Class::Import, Kind::Body);
        drop(answer);
        queue.push(request, 10);
        assert!(total(&queue) <= 11);
    }
    let (live, _answer) = request("live", Class::Import, Kind::Body);
    queue.push(live, 10);
    assert_eq!(&*take(&mut queue, true, true).unwrap().id, "live");
    assert!(take(&mut queue, true, true).is_none());
    assert_eq!(total(&queue), 0);
}

#[test]
fn a_raised_request_waits_in_the_more_urgent_class_and_is_never_lowered() {
    let (mut queue, _answers) = fill(&[
        ("a", Class::ReadAhead, Kind::Body),
        ("b", Class::ReadAhead, Kind::Body),
        ("p", Class::Playback, Kind::Body),
        ("b", Class::Import, Kind::Stat),
    ]);
    queue.raise("b", Class::Playback);
    queue.raise("p", Class::Repair);
    queue.raise("unknown", Class::Playback);
    assert_eq!(total(&queue), 4);
    assert_eq!(order(&mut queue), ["p", "b", "a", "b"]);
    assert_eq!(total(&queue), 0);
}

#[test]
fn what_is_put_back_goes_first() {
    let (mut queue, _answers) = fill(&[("a", Class::Import, Kind::Body), ("b", Class::Import, Kind::Stat)]);
    let (old, _answer) = request("old", Class::Import, Kind::Stat);
    queue.put_back(old);
    assert_eq!(order(&mut queue), ["old", "a", "b"]);
}

#[test]
fn room_that_is_kept_is_for_what_a_reader_waits_for_and_for_what_is_late() {
    let (mut queue, _answers) = fill(&[
        ("ahead", Class::ReadAhead, Kind::Body),
        ("import", Class::Import, Kind::Body),
        ("check", Class::Health, Kind::Stat),
    ]);
    let (late, _late) = request("late", Class::ReadAhead, Kind::Body);
    queue.put_back(late);
    let (waited, _waited) = request("waited", Class::Playback, Kind::Body);
    queue.push(waited, 100);
    let taker = Taker {
        provider: 0b10,
        connection: 7,
        body: true,
        stat: true,
        kept: true,
    };
    let taken = std::iter::from_fn(|| queue.pop(&taker, |_| true));
    let taken: Vec<_> = taken.map(|request| request.id.into_string()).collect();
    assert_eq!(taken, ["waited", "late", "check"]);
    assert_eq!(order(&mut queue), ["ahead", "import"]);
}
