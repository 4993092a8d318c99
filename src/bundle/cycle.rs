//! Cycles in the dependencies. Pure.

/// The members of one cycle, if there is any. Not recursive: a file may have a long chain.
pub(crate) fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let (mut is_done, mut is_on_path) = (vec![false; edges.len()], vec![false; edges.len()]);
    for root in 0..edges.len() {
        // The path from the root to the current node, and how many edges of each node were followed.
        let mut path = vec![(root, 0)];
        while let Some((node, followed)) = path.last_mut() {
            if is_done[*node] {
                path.pop();
                continue;
            }
            is_on_path[*node] = true;
            match edges[*node].get(*followed) {
                Some(next) if is_on_path[*next] => {
                    let begin = path.iter().position(|(node, _)| node == next)?;
                    return Some(path[begin..].iter().map(|(node, _)| *node).collect());
                }
                Some(next) => {
                    *followed += 1;
                    path.push((*next, 0));
                }
                None => {
                    is_done[*node] = true;
                    is_on_path[*node] = false;
                }
            }
        }
    }
    None
}
