// What holds for every member of every format: a map becomes a valid graph of its own length.
use altmount_archive::{Member, Plan, plan, to_content};
use altmount_model::{Content, Node};

pub fn check(members: &[Member], volume: u64) {
    for member in members {
        if let Ok(Plan::Map(map)) = plan(member) {
            let mut content = Content::single(Node::Zero { len: volume });
            to_content(&map, &[0], &mut content).expect("a map is of volume 0");
            assert_eq!(content.validate(), Ok(map.len));
        }
    }
}
