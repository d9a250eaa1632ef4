// Package shipped holds the tests of what "make packages" leaves in dist: "make test-packages" runs them.
// They are not among those of "make test", which builds no packages.
package shipped
