package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// draw shows every ratio of Varve to Kafka on one scale, on which twice and half are equally
// far from even.
func draw(done []result) []byte {
	var plots []plot
	for _, r := range rows() {
		for _, d := range done {
			if d.Row == r.id {
				plots = append(plots, d.Plots...)
			}
		}
	}
	const (
		left, width, line, top = 330, 430, 22, 46
		low, high              = 1.0 / 16, 4.0
	)
	x := func(ratio float64) float64 {
		ratio = min(max(ratio, low), high)
		return left + width*(math.Log2(ratio)-math.Log2(low))/(math.Log2(high)-math.Log2(low))
	}
	var b bytes.Buffer
	bottom := top + line*len(plots)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", left+width+40, bottom+20)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="10" y="18" font-size="14">Varve ÷ Apache Kafka, median and 95 %% interval; hollow: the control was noisy</text>`+"\n")
	for r := low; r <= high; r *= 2 {
		color := "#ddd"
		if r == 1 {
			color = "#555"
		}
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="%s"/><text x="%.1f" y="%d" text-anchor="middle" fill="#555">%g×</text>`+"\n", x(r), top-6, bottom, color, x(r), top-10, r)
	}
	for i, p := range plots {
		y := top + line*i + line/2
		color := "#c33"
		if p.Ratio.Mid <= 1 != p.More {
			color = "#27a"
		}
		fill := color
		if p.Noisy {
			fill = "white"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><path d="M%.1f %dH%.1f" stroke="%s" stroke-width="2"/><circle cx="%.1f" cy="%d" r="5" fill="%s" stroke="%s"/>`+"\n",
			left-10, y+4, html.EscapeString(p.What), x(p.Ratio.Low), y, x(p.Ratio.High), color, x(p.Ratio.Mid), y, fill, color)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
