package domain

// Nearest returns the candidate that a mistyped word most likely meant: the
// one with the fewest edits, when they are few for its length.
func Nearest(word string, candidates []string) (string, bool) {
	best, at := "", len(word)/3+2
	for _, c := range candidates {
		if d := edits(word, c); d < at {
			best, at = c, d
		}
	}
	return best, best != ""
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
