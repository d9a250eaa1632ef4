package report

import (
	"fmt"
	"slices"
	"strings"

	"gtrace/probe"
)

// graph writes the path to each target when it is done, for programs that make pictures of it. A node is who answered at a TTL. An edge is
// that flows went on from one to the other or, where the trace is not of many flows, probes of the same attempts did. It is dashed where
// that is not known: TTLs in between were not asked, or nothing says which node of the hop before leads there. Findings about a hop or the stretch
// between two are notes.
type graph struct {
	out
	o     Options
	in    *language
	start *probe.Started // nil between targets
	course
	found []probe.Finding // those that are about a place on the path
	text  []byte
}

// A language is what graphs are written in.
type language struct {
	head, foot string    // %s is the title
	nodes      [5]string // by kind: router, silence, source, destination, note; of an identifier and a text
	edges      [4]string // plain, labelled, dashed, to a note; of two identifiers and a label
	newline    string
	title      func(string) string // escapes it
	word       func(string) string // the same for text in a node
}

const (
	router, silence, source, destination, note = 0, 1, 2, 3, 4
	plainEdge, labelled, dashed, noted         = 0, 1, 2, 3

	noteWidth = 48 // columns, but for longer words
)

var (
	inDot  = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`).Replace
	inYAML = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace

	dot = &language{
		"digraph {\n  graph [label=\"%s\", labelloc=t]\n  node [shape=box]\n", "}\n",
		[...]string{"  %s [label=\"%s\"]\n", "  %s [label=\"%s\", shape=circle]\n", "  %s [label=\"%s\", shape=ellipse]\n", "  %s [label=\"%s\", peripheries=2]\n",
			"  %s [label=\"%s\", shape=note]\n"},
		[...]string{"  %[1]s -> %[2]s\n", "  %[1]s -> %[2]s [label=\"%[3]s\"]\n", "  %[1]s -> %[2]s [style=dashed]\n",
			"  %[1]s -> %[2]s [style=dotted, dir=none]\n"},
		`\n`, inDot, inDot,
	}
	mermaid = &language{
		"---\ntitle: \"%s\"\n---\nflowchart TD\n", "",
		[...]string{"  %s[\"%s\"]\n", "  %s((\"%s\"))\n", "  %s([\"%s\"])\n", "  %s[[\"%s\"]]\n", "  %s>\"%s\"]\n"},
		[...]string{"  %[1]s --> %[2]s\n", "  %[1]s -->|%[3]s| %[2]s\n", "  %[1]s -.-> %[2]s\n", "  %[1]s -.- %[2]s\n"},
		"<br/>", inYAML, inMermaid,
	}
)

// inMermaid has all but the plainest characters as entities: between its quotes Mermaid still looks for Markdown, HTML and directives.
func inMermaid(s string) string {
	var b []byte
	for _, r := range s {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(" .:-!/[]", r) {
			b = append(b, byte(r))
		} else {
			b = fmt.Appendf(b, "#%d;", r)
		}
	}
	return string(b)
}

func (g *graph) Emit(e probe.Event) error {
	if s, ok := e.(probe.Started); ok {
		if g.start != nil {
			return errOpen
		}
		g.start = &s
		g.begin(e)
		return nil
	}
	if g.start == nil {
		return errClosed
	}
	g.take(e, g.start.Method.Multipath)
	switch e := e.(type) {
	case *probe.Probed:
		ask(&e.Outcome, g.o.Names, g.o.Origins)
	case probe.Finding:
		if g.o.tells(e) && (e.TTL > 0 || e.Between[1] > 0) {
			g.found = append(g.found, e)
		}
	case probe.Finished:
		g.draw(e.Verdict)
		text := string(g.text)
		g.start, g.course, g.found, g.text = nil, course{}, nil, nil
		for l := range strings.Lines(text) {
			if err := g.line([]byte(strings.TrimSuffix(l, "\n"))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *graph) add(format string, args ...any) { g.text = fmt.Appendf(g.text, format, args...) }

func (g *graph) draw(v probe.Verdict) {
	title := Printable(g.start.Target)
	if a := g.start.Dst; a.IsValid() && address(a) != title {
		title += " (" + address(a) + ")"
	}
	g.add(g.in.head, g.in.title(title+": "+string(v)))
	var before []*vertex
	if a := g.start.Src; a.IsValid() {
		before = []*vertex{{id: "h0_1", kind: source}}
		g.add(g.in.nodes[source], before[0].id, g.in.word(address(a)))
	}
	at := make(map[uint8][]*vertex)
	for _, h := range g.hops {
		all := g.vertices(h)
		at[h.TTL] = all
		for _, v := range all {
			g.add(g.in.nodes[v.kind], v.id, g.label(v))
		}
		for _, v := range all {
			g.join(before, all, v)
		}
		if len(all) > 0 { // of an interrupted trace nothing may be known yet
			before = all
		}
	}
	g.notes(at)
	g.text = append(g.text, g.in.foot...)
}

// notes adds the findings, each joined to the nodes that it names at its TTLs, or to the only one there.
func (g *graph) notes(at map[uint8][]*vertex) {
	for i, f := range g.found {
		var lines []string
		line := ""
		for _, w := range strings.Fields(Printable(f.Code + ": " + f.Text)) {
			if line != "" && len(line)+1+len(w) > noteWidth {
				lines, line = append(lines, g.in.word(line)), ""
			}
			if line != "" {
				line += " "
			}
			line += w
		}
		id := fmt.Sprintf("f%d", i+1)
		g.add(g.in.nodes[note], id, strings.Join(append(lines, g.in.word(line)), g.in.newline))
		named := strings.FieldsFunc(strings.ReplaceAll(f.Text, ": ", " "), func(r rune) bool { return strings.ContainsRune(" ,;()", r) })
		for _, ttl := range [...]uint8{f.TTL, f.Between[0], f.Between[1]} { // of 0 there is none
			for _, v := range at[ttl] {
				if len(at[ttl]) == 1 || v.last != nil && slices.ContainsFunc(named, func(w string) bool { return w == v.last.From.String() }) {
					g.add(g.in.edges[noted], v.id, id)
				}
			}
		}
	}
}

// A vertex is a node of the graph.
type vertex struct {
	*branch
	id   string
	kind int
	ttl  uint8           // 0: this host
	ways map[uint32]bool // flows or attempts that are known there, and whether they go on
}

// vertices are who answered at a hop. Silence is one too, where nobody did or, of many flows, some are never answered.
func (g *graph) vertices(h probe.Hop) (all []*vertex) {
	many, branches := g.start.Method.Multipath, branchesOf(h)
	for i, b := range branches {
		v := &vertex{branch: b, id: fmt.Sprintf("h%d_%d", h.TTL, i+1), kind: router, ttl: h.TTL, ways: make(map[uint32]bool)}
		if b.last == nil {
			v.kind = silence
			if i > 0 && !many {
				break // what was lost went by one of the others
			}
		}
		for _, o := range b.all {
			way := o.Spec.Attempt
			if many {
				way = uint32(o.Spec.Flow)
			}
			if o.Status == probe.Answered {
				v.ways[way] = !ends(o)
				if o.Answer.Terminal() || o.From.WithZone("") == g.start.Dst.WithZone("") {
					v.kind = destination
				}
			} else if many || len(branches) == 1 {
				v.ways[way] = true
			}
		}
		all = append(all, v)
	}
	return all
}

// label is what stands in a node.
func (g *graph) label(v *vertex) string {
	if v.last == nil {
		return g.in.word("*")
	}
	a, name, origins := v.last.From, "", ""
	if g.o.Names != nil {
		name = nameOf(g.o.Names, a)
	}
	if g.o.Origins != nil {
		origins = "[" + originsText(originsOf(g.o.Origins, a)) + "]"
	}
	said := v.notes
	if v.times.N() > 0 {
		said = append([]string{string(thousandths(nil, v.times.Mean())) + " ms"}, said...)
	}
	unanswered := ""
	if g.start.Method.Multipath {
		unanswered = v.unanswered()
	}
	var all []string
	for _, w := range []string{name, address(a), origins, strings.Join(said, " "), unanswered} {
		if w != "" {
			all = append(all, g.in.word(w))
		}
	}
	return strings.Join(all, g.in.newline)
}

// join adds the edges to one of the nodes of a hop from those of the hop before. Links tell of none where packets are spread one by one, so that it
// is chance which flow came to which node: silence has none there either.
func (g *graph) join(before, all []*vertex, to *vertex) {
	chance := g.links != nil && before != nil && before[0].kind != source && before[0].last != nil && all[0].last != nil &&
		!slices.ContainsFunc(g.links, func(l probe.Link) bool { return l.TTL == before[0].ttl })
	count, total := make([]int, len(before)), 0
	for i, from := range before {
		if !chance {
			count[i] = g.both(from, to)
		}
		total += count[i]
	}
	for i, from := range before {
		kind := plainEdge
		switch n := count[i]; {
		case n == 0 && (total > 0 || from.kind == destination):
			continue
		case n == 0 || to.ttl != from.ttl+1:
			kind = dashed
		case len(before) > 1 || len(all) > 1:
			kind = labelled
		}
		what := "probe"
		if g.start.Method.Multipath {
			what = "flow"
		}
		if count[i] != 1 {
			what += "s"
		}
		g.add(g.in.edges[kind], from.id, to.id, fmt.Sprint(count[i], " ", what))
	}
}

// both is how many flows or attempts are known to go from one node to another, which is of the next hop.
func (g *graph) both(from, to *vertex) (n int) {
	if from.kind == source {
		return len(to.ways)
	}
	if g.links != nil && from.last != nil && to.last != nil {
		for _, l := range g.links {
			if l.TTL == from.ttl && l.From == from.last.From && l.To == to.last.From {
				n += len(l.Flows)
			}
		}
		return n
	}
	for w := range to.ways {
		if from.ways[w] {
			n++
		}
	}
	return n
}
