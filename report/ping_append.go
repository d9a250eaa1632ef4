package report

// The document of a ping, and of each of its replies, as their tags have it: TestAppended holds the two to each other.

func (p *pingJSON) appendJSON(b []byte) ([]byte, error) {
	o := members{b: append(b, '{')}
	p.head.write(&o)
	o.within("method", func() { p.Method.write(&o) })
	p.ending.write(&o)
	if p.Replies != nil {
		o.key("replies")
		o.b = append(o.b, '[')
		for i, r := range *p.Replies {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			o.b = append(o.b, '{')
			r.write(&o)
			o.b = append(o.b, '}')
		}
		o.b = append(o.b, ']')
	}
	if p.Sweep != nil {
		o.any("sweep", p.Sweep)
	}
	o.within("summary", func() { p.Summary.write(&o) })
	if p.SelfCheck != nil {
		o.within("self_check", func() { p.SelfCheck.write(&o) })
	}
	return append(o.b, '}'), o.err
}

func (m *pingMethod) write(o *members) {
	o.add("protocol", m.Protocol)
	o.number("destination_port", uint64(m.DstPort))
	o.number("source_port", uint64(m.SrcPort))
	o.number("identifier", uint64(m.Identifier))
	if m.Label != nil {
		o.addNumber("flow_label", uint64(*m.Label))
	}
	o.integer("size_bytes", m.Size)
	o.integer("options_bytes", m.Options)
	o.addMillis("interval_ms", m.Interval)
	o.text("socket", m.Socket)
}

func (r *reply) write(o *members) {
	o.number("seq", uint64(r.Seq))
	o.integer("size_bytes", r.Size)
	o.instant("sent_at", r.SentAt)
	o.add("result", r.Result)
	o.text("error", r.Error)
	o.address("from", r.From)
	o.text("name", r.Name)
	o.millis("rtt_ms", r.RTT)
	o.text("clock", r.Clock)
	o.text("match", r.Match)
	o.number("reply_ttl", uint64(r.ReplyTTL))
	o.integer("bytes", r.Bytes)
	if r.Dups != nil {
		o.addNumber("duplicates", *r.Dups)
	}
	o.addBool("late", r.Late)
	if r.Corrupted != nil {
		o.addBool("corrupted", *r.Corrupted)
	}
	r.answer.write(o)
	o.integer("mtu", r.MTU)
	if r.WrongAt != nil {
		o.any("wrong_at", r.WrongAt)
	}
	if r.Timestamp != nil {
		o.any("timestamp", r.Timestamp)
	}
	o.text("mask", r.Mask)
	if r.Interface != nil {
		o.any("interface", r.Interface)
	}
	if r.Node != nil {
		o.any("node", r.Node)
	}
	if len(r.Route) > 0 {
		o.any("route", r.Route)
	}
	if len(r.Stamps) > 0 {
		o.any("stamps", r.Stamps)
	}
	o.integer("unrecorded_hops", r.Missed)
}

func (s *pingSummary) write(o *members) {
	o.addNumber("sent", s.Sent)
	o.addNumber("received", s.Received)
	o.addNumber("duplicates", s.Duplicates)
	o.addNumber("corrupted", s.Corrupted)
	o.addNumber("reordered", s.Reordered)
	o.addNumber("errors", s.Errors)
	o.number("flow_only", s.FlowOnly)
	o.number("in_flight", s.InFlight)
	if s.Loss != nil {
		o.addPercent("loss_percent", *s.Loss)
	}
	if s.LossRange != nil {
		o.key("loss_interval_percent")
		o.b = s.LossRange[1].append(append(s.LossRange[0].append(append(o.b, '[')), ','))
		o.b = append(o.b, ']')
	}
	o.millis("min_ms", s.Min)
	o.millis("avg_ms", s.Avg)
	o.millis("max_ms", s.Max)
	o.millis("mdev_ms", s.Mdev)
	o.millis("stddev_ms", s.Stddev)
	o.millis("jitter_ms", s.Jitter)
	o.millis("p50_ms", s.P50)
	o.millis("p90_ms", s.P90)
	o.millis("p95_ms", s.P95)
	o.millis("p99_ms", s.P99)
}

func (s *selfCheck) write(o *members) {
	o.addNumber("receive_drops", s.ReceiveDrops)
	o.addNumber("send_errors", s.SendErrors)
	o.addNumber("late", s.Late)
	o.addNumber("duplicates", s.Duplicates)
	o.addNumber("unmatched", s.Unmatched)
	o.addNumber("malformed", s.Malformed)
	o.addNumber("clock_steps", s.ClockSteps)
	o.addNumber("advisories", s.Advisories)
	if s.SlowedTo != 0 {
		o.any("slowed_to_per_second", s.SlowedTo)
	}
	if len(s.Rejected) > 0 {
		o.any("rejected", s.Rejected)
	}
}
