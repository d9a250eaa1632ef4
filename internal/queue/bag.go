package queue

// A Bag holds values in no order. Whatever there is in it is taken out without a search.
type Bag[T interface{ place() *Place }] []T

// A Place is where a value is in a bag. Whatever goes into one embeds it.
type Place int

func (p *Place) place() *Place { return p }

// Add puts one in that is in no bag.
func (b *Bag[T]) Add(v T) {
	*v.place() = Place(len(*b))
	*b = append(*b, v)
}

// Remove takes one out that is in it.
func (b *Bag[T]) Remove(v T) {
	var zero T
	all, at := *b, *v.place()
	last := len(all) - 1
	all[at] = all[last]
	*all[at].place() = at
	all[last] = zero
	*b = all[:last]
}
